"""Stop an agent of the Claude Agent SDK that repeats itself.

With the server of the tests instead of a model:

    python tests/fake_model.py 8123 &
    ANTHROPIC_BASE_URL=http://127.0.0.1:8123 ANTHROPIC_API_KEY=none MODEL=fake-bash \\
        python examples/claude_agent.py
"""

import asyncio
import os

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage

import watchkeeper
from watchkeeper.claude_agent_sdk import Watcher


async def main() -> None:
    options = ClaudeAgentOptions(allowed_tools=["Bash"], model=os.environ.get("MODEL"))
    monitor = watchkeeper.Monitor(on_finding=lambda finding: print(f"found: {finding.message}"))
    async with monitor:
        watcher = Watcher(monitor, act="stop")
        try:
            async for message in watcher.query(prompt="Where is `total.py`?", options=options):
                if isinstance(message, ResultMessage):
                    print(f"answer: {message.result}")
        except watchkeeper.RunStopped as stopped:
            print(f"stopped: {stopped}")


asyncio.run(main())
