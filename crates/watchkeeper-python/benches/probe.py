import time, statistics, watchkeeper
args={"command": "cat <<'EOF' > build.log\n"+"x = 1; print(\"abc def\")\n"*40, "timeout": 30, "cwd": "/home/dev/project", "flags":["-x","-v"], "env": {"A":"1"}}
import json; print(len(json.dumps(args)))
def run(n, f):
    out=[]
    for _ in range(n):
        t=time.perf_counter_ns(); f(); out.append(time.perf_counter_ns()-t)
    out.sort(); return out[n//2], out[int(n*.99)]
with watchkeeper.Monitor(on_finding=lambda f: None, queue_capacity=1<<16) as m:
    s=m.session("s")
    keep=[]
    for size in (2000,)*5:
        print("tool_call", run(size, lambda: keep.append(s.tool_call("Bash", args))))
        m.flush(30)
    keep.clear(); m.flush(30)
    print("prompt", run(2000, lambda: s.turn_end())); m.flush(30)
    from watchkeeper._watchkeeper import *
    print(m.counts)
print("noop", run(2000, lambda: None))
