"""A server that answers like a model, on the loopback interface.

It speaks the Responses API and the Chat Completions API of OpenAI, and the Messages API
of Anthropic, each of them as JSON and as server-sent events. The name of the model in a
request selects a script, and the number of tool calls since the last prompt selects the
step of the script.

Run as a program to try the examples:

    python tests/fake_model.py 8123
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

Json: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True)
class Step:
    """A response: a text, or tool calls with their arguments."""

    text: str = ""
    calls: tuple[tuple[str, Json], ...] = ()


def call(tool: str, **arguments: Any) -> Step:
    return Step(calls=((tool, arguments),))


def loop(step: Step, n: int = 12) -> list[Step]:
    """Repeat a step, and finish."""
    return [step] * n + [Step("I cannot find the file.")]


LIST = call("list_files", folder="src")
WORK = [
    call("list_files", folder="src"),
    call("read_file", path="src/sum.py"),
    call("run_tests", target="all"),
    call("edit_file", path="src/sum.py", text="return a + b"),
    call("run_tests", target="all"),
    Step("The sum is correct now."),
]
SCRIPTS = {
    "fake-loop": loop(LIST),
    "fake-work": WORK,
    "fake-bash": loop(call("Bash", command="cat total.py || true")),
    "fake-done": [Step("Done.")],
}


class FakeModel:
    """The server. `requests` has the bodies of the requests to models."""

    def __init__(self, scripts: dict[str, list[Step]] | None = None, port: int = 0) -> None:
        self.scripts = {**SCRIPTS, **(scripts or {})}
        self.requests: list[Json] = []
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.model = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def n_requests(self, script: str) -> int:
        return sum(request.get("model") == script for request in self.requests)

    def next_step(self, request: Json, n_calls: int) -> Step:
        steps = self.scripts.get(request.get("model", ""), SCRIPTS["fake-done"])
        available = _tool_names(request)
        step = steps[min(n_calls, len(steps) - 1)]
        if step.calls and not all(tool in available for tool, _ in step.calls):
            return Step("The tool is missing.")
        return step


def _tool_names(request: Json) -> set[str]:
    tools = request.get("tools") or []
    return {tool.get("name") or tool.get("function", {}).get("name") for tool in tools}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    model: FakeModel


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send_json({"object": "list", "data": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        path = self.path.partition("?")[0]
        answer = {
            "/v1/responses": self._responses,
            "/v1/chat/completions": self._chat_completions,
            "/v1/messages": self._messages,
        }.get(path)
        if answer is None:
            self._send_json({})
            return
        self.server.model.requests.append(body)
        answer(body, len(self.server.model.requests))

    def _responses(self, body: Json, n: int) -> None:
        items = body.get("input") or []
        items = items if isinstance(items, list) else []
        prompts = [i for i, item in enumerate(items) if item.get("role") == "user"]
        recent = items[prompts[-1] :] if prompts else items
        n_calls = sum(item.get("type") == "function_call" for item in recent)
        step = self.server.model.next_step(body, n_calls)
        output: list[Json] = [
            {
                "type": "function_call",
                "id": f"fc_{n}_{i}",
                "call_id": f"call_{n}_{i}",
                "name": tool,
                "arguments": json.dumps(arguments),
                "status": "completed",
            }
            for i, (tool, arguments) in enumerate(step.calls)
        ]
        if step.text:
            text = {"type": "output_text", "text": step.text, "annotations": []}
            message = {"type": "message", "id": f"msg_{n}", "role": "assistant"}
            output.insert(0, {**message, "status": "completed", "content": [text]})
        response = {
            "id": f"resp_{n}",
            "object": "response",
            "created_at": int(time.time()),
            "model": body.get("model"),
            "output": output,
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
            "status": "completed",
            "usage": {
                "input_tokens": 1000 + 10 * n,
                "input_tokens_details": {"cached_tokens": 800, "cache_write_tokens": 0},
                "output_tokens": 50,
                "output_tokens_details": {"reasoning_tokens": 20},
                "total_tokens": 1050 + 10 * n,
            },
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "temperature": 1.0,
            "top_p": 1.0,
        }
        if not body.get("stream"):
            self._send_json(response)
            return
        started = {**response, "output": [], "status": "in_progress", "usage": None}
        events: list[Json] = [{"type": "response.created", "response": started}]
        for i, item in enumerate(output):
            for kind in ("added", "done"):
                event = {"type": f"response.output_item.{kind}", "output_index": i, "item": item}
                events.append(event)
        events.append({"type": "response.completed", "response": response})
        self._send_events({**event, "sequence_number": i} for i, event in enumerate(events))

    def _chat_completions(self, body: Json, n: int) -> None:
        messages = body.get("messages") or []
        prompts = [i for i, message in enumerate(messages) if message.get("role") == "user"]
        recent = messages[prompts[-1] :] if prompts else messages
        n_calls = sum(len(message.get("tool_calls") or ()) for message in recent)
        step = self.server.model.next_step(body, n_calls)
        message: Json = {"role": "assistant", "content": step.text or None}
        if step.calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{n}_{i}",
                    "type": "function",
                    "function": {"name": tool, "arguments": json.dumps(arguments)},
                }
                for i, (tool, arguments) in enumerate(step.calls)
            ]
        reason = "tool_calls" if step.calls else "stop"
        usage = {
            "prompt_tokens": 1000 + 10 * n,
            "completion_tokens": 50,
            "total_tokens": 1050 + 10 * n,
            "prompt_tokens_details": {"cached_tokens": 800},
            "completion_tokens_details": {"reasoning_tokens": 20},
        }
        head = {"id": f"chatcmpl-{n}", "created": int(time.time()), "model": body.get("model")}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            completion = {**head, "object": "chat.completion", "choices": [choice]}
            self._send_json({**completion, "usage": usage})
            return
        calls = message.get("tool_calls", [])
        delta = {**message, "tool_calls": [{**c, "index": i} for i, c in enumerate(calls)]}
        chunk = {**head, "object": "chat.completion.chunk"}
        choices = [
            [{"index": 0, "delta": delta, "finish_reason": None}],
            [{"index": 0, "delta": {}, "finish_reason": reason}],
        ]
        chunks = [{**chunk, "choices": choice} for choice in choices]
        self._send_events([*chunks, {**chunk, "choices": [], "usage": usage}], "[DONE]")

    def _messages(self, body: Json, n: int) -> None:
        n_calls = 0
        for message in body.get("messages") or []:
            content = message.get("content")
            blocks = content if isinstance(content, list) else [{"type": "text"}]
            kinds = [block.get("type") for block in blocks]
            if message.get("role") == "user" and "tool_result" not in kinds:
                n_calls = 0
            n_calls += kinds.count("tool_use")
        step = self.server.model.next_step(body, n_calls)
        blocks = [{"type": "text", "text": step.text}] if step.text else []
        blocks += [
            {"type": "tool_use", "id": f"toolu_{n}_{i}", "name": tool, "input": arguments}
            for i, (tool, arguments) in enumerate(step.calls)
        ]
        reason = "tool_use" if step.calls else "end_turn"
        usage = {
            "input_tokens": 200 + 10 * n,
            "cache_read_input_tokens": 800,
            "cache_creation_input_tokens": 0,
            "output_tokens": 50,
        }
        message = {
            "id": f"msg_{n}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": blocks,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }
        if not body.get("stream"):
            self._send_json(message)
            return
        started = {**message, "content": [], "stop_reason": None}
        events: list[Json] = [{"type": "message_start", "message": started}]
        for i, block in enumerate(blocks):
            is_text = block["type"] == "text"
            empty = {**block, **({"text": ""} if is_text else {"input": {}})}
            events.append({"type": "content_block_start", "index": i, "content_block": empty})
            delta = (
                {"type": "text_delta", "text": block["text"]}
                if is_text
                else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            )
            events.append({"type": "content_block_delta", "index": i, "delta": delta})
            events.append({"type": "content_block_stop", "index": i})
        delta = {"stop_reason": reason, "stop_sequence": None}
        events.append({"type": "message_delta", "delta": delta, "usage": usage})
        events.append({"type": "message_stop"})
        self._send_events(events)

    def _send_json(self, value: Json) -> None:
        self._send("application/json", json.dumps(value).encode())

    def _send_events(self, events: Iterable[Json], last: str | None = None) -> None:
        lines = []
        for event in events:
            if "type" in event:
                lines.append(f"event: {event['type']}\n")
            lines.append(f"data: {json.dumps(event)}\n\n")
        if last is not None:
            lines.append(f"data: {last}\n\n")
        self._send("text/event-stream", "".join(lines).encode())

    def _send(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    with FakeModel(port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as model:
        print(f"OPENAI_BASE_URL={model.url}/v1 OPENAI_API_KEY=none", flush=True)
        threading.Event().wait()
