"""The time that `attach` adds to a tool call of an agent.

Measures the steps of an agent of the OpenAI Agents SDK between two responses of the model:
the tool call, its result, and the start of the next model call. The model answers at once,
without a network. Runs with and without `attach` alternate. Those with empty hooks show how
much of the time the SDK needs to call any hooks.

    python benches/attach.py [CALLS]
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from time import perf_counter_ns, thread_time_ns

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"

import agents
from agents.items import ModelResponse
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

import watchkeeper

# The number of calls in one run, and of runs that are not measured.
RUN_CALLS, WARM_UP = 50, 4
ACTS = ("observe", "nudge", "stop")
WITHOUT, EMPTY_HOOKS = "without", "empty hooks"
WAYS = (WITHOUT, EMPTY_HOOKS, *ACTS)


class FastModel(agents.Model):
    """Requests different tool calls, and measures the time until the next request."""

    def __init__(self):
        self.times, self.n, self.answered = [], 0, (0, 0)

    async def get_response(self, *_, **__):
        now = perf_counter_ns(), thread_time_ns()
        if self.n:
            self.times.append([end - start for start, end in zip(self.answered, now, strict=True)])
        self.n += 1
        usage = agents.Usage(requests=1, input_tokens=1000, output_tokens=50, total_tokens=1050)
        if self.n <= RUN_CALLS:
            arguments = f'{{"path": "src/{self.n}.py", "text": "{"x" * 1000}"}}'
            item = ResponseFunctionToolCall(
                call_id=f"call-{self.n}", name="write", arguments=arguments, type="function_call"
            )
        else:
            text = ResponseOutputText(text="Done.", type="output_text", annotations=[])
            item = ResponseOutputMessage(
                id="m", content=[text], role="assistant", status="completed", type="message"
            )
        response = ModelResponse(output=[item], usage=usage, response_id=None)
        self.answered = perf_counter_ns(), thread_time_ns()
        return response

    def stream_response(self, *_, **__):
        raise NotImplementedError


@agents.function_tool
async def write(path: str, text: str) -> str:
    """Write a file."""
    return f"wrote {len(text)} characters to {path}"


def allow(_):
    return agents.ToolGuardrailFunctionOutput.allow()


def run(monitor, way):
    model = FastModel()
    agent = agents.Agent(name="bench", tools=[write], model=model)
    if way == EMPTY_HOOKS:
        agent.hooks = agents.AgentHooks()
        write.tool_input_guardrails = [agents.ToolInputGuardrail(allow, name="bench")]
    elif way in ACTS:
        watchkeeper.attach(agent, monitor, way)
    asyncio.run(agents.Runner.run(agent, "go", max_turns=RUN_CALLS + 1))
    # Each run has guardrails of its own.
    write.tool_input_guardrails = None
    return model.times


def percentile(times, part):
    return statistics.quantiles(times, n=100)[part - 1] / 1000


def main():
    n_runs = (int(sys.argv[1]) if len(sys.argv) > 1 else 2000) // RUN_CALLS
    times = {way: [] for way in WAYS}
    with watchkeeper.Monitor(on_finding=lambda _: None) as monitor:
        for i in range(WARM_UP + n_runs):
            # Each way follows each other one equally often.
            for n in range(len(WAYS)):
                way = WAYS[(i + n * (1 + i % (len(WAYS) - 1))) % len(WAYS)]
                run_times = run(monitor, way)
                if i >= WARM_UP:
                    times[way].extend(run_times)
    print(f"{n_runs * RUN_CALLS} tool calls each, in microseconds")
    for i, clock in enumerate(["elapsed time", "processor time of the agent's thread"]):
        print(f"\n{clock}\n{'':>11} {'p50':>8} {'p99':>8} {'added p50':>10} {'added p99':>10}")
        base = None
        for way, measured in times.items():
            values = [value[i] for value in measured]
            row = [percentile(values, part) for part in (50, 99)]
            base = base or row
            added = [value - other for value, other in zip(row, base, strict=True)]
            numbers = row + (added if way != WITHOUT else [])
            widths = (8, 8, 10, 10)
            cells = [f"{n:>{width}.1f}" for n, width in zip(numbers, widths, strict=False)]
            print(f"{way:>11}", *cells)


if __name__ == "__main__":
    main()
