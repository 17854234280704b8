"""The brain behind the foreign server: deterministic, so that what fails is the wire and nothing else.

LiteLLM serves this handler over its own implementations of OpenAI's and Anthropic's protocols. Asked for a plan it
plans two agents side by side and a writer after them; asked as an agent it calls its tools, two at once where it has
two, and ends when it has been answered. Asked anything else it says `plan`.
"""

import json
import re
import uuid

from litellm import CustomLLM
from litellm.types.utils import Choices, Function, Message, ModelResponse, Usage
from litellm.types.utils import ChatCompletionMessageToolCall as ToolCall

REPORT = "Written over a real wire protocol."


def text_of(message):
    """A message's words, whether it holds a text or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or "" for part in content if isinstance(part, dict))


def tool_names(options):
    return [tool["function"]["name"] for tool in options.get("tools") or []]


def plan(goal):
    """A plan for the operator's goal: two agents side by side, and a writer that needs both."""
    subject = {"first": "streaming", "second": "tools"}
    sides = [{"id": side, "task": f"Say one thing about {word}", "role": "generalist"} for side, word in subject.items()]
    params = {"inputs": [{"from": side} for side in subject], "output": path_in(goal), "title": "Wire protocols"}
    report = {"id": "report", "task": "Write the report", "role": "writer", "params": params}
    return {"subtasks": [*sides, report], "result": "report"}


def call(name, arguments):
    return ToolCall(id=f"call_{uuid.uuid4().hex[:12]}", type="function", function=Function(name=name, arguments=json.dumps(arguments)))


def path_in(said):
    found = re.search(r"(/[^\s\"'`]+\.md)\b", said)
    return found.group(1) if found else None


def think(messages, options):
    """What the brain says: words, tool calls, and why it stops."""
    names = tool_names(options)
    asked = "\n".join(text_of(message) for message in messages if message.get("role") != "system")
    said = "\n".join(text_of(message) for message in messages)
    if any(message.get("role") == "tool" for message in messages):
        return "Done: it is said and written.", [], "stop"
    if names:
        calls = [call("echo", {"text": "in parallel"})] if "echo" in names else []
        if "file_write" in names and path_in(asked):
            calls.insert(0, call("file_write", {"path": path_in(asked), "content": REPORT}))
        return "I will see to it.", calls, "tool_calls" if calls else "stop"
    if "subtasks" not in said:
        return "plan", [], "stop"
    return json.dumps(plan(asked)), [], "stop"


class Brain(CustomLLM):
    def completion(self, *args, **kwargs):
        raise NotImplementedError("only the asynchronous interface is served")

    async def acompletion(self, model, messages, model_response=None, optional_params=None, **_):
        words, calls, stop = think(messages, optional_params or {})
        message = Message(role="assistant", content=words, tool_calls=calls or None)
        return ModelResponse(
            model=model,
            choices=[Choices(index=0, message=message, finish_reason=stop)],
            usage=Usage(prompt_tokens=100, completion_tokens=20, total_tokens=120),
        )

    async def astreaming(self, model, messages, optional_params=None, **_):
        words, calls, stop = think(messages, optional_params or {})
        for word in re.findall(r"\S+\s*", words):
            yield self.chunk(text=word)
        for index, made in enumerate(calls):
            arguments = made.function.arguments
            cuts = [0, len(arguments) // 3, 2 * len(arguments) // 3, len(arguments)]
            for part, (start, end) in enumerate(zip(cuts, cuts[1:])):
                piece = {"index": index, "type": "function", "function": {"arguments": arguments[start:end]}}
                piece["id"] = made.id if part == 0 else None
                piece["function"]["name"] = made.function.name if part == 0 else None
                yield self.chunk(tool_use=piece)
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        yield self.chunk(finished=stop, usage=usage)

    @staticmethod
    def chunk(text="", tool_use=None, finished="", usage=None):
        return {
            "text": text,
            "tool_use": tool_use,
            "is_finished": bool(finished),
            "finish_reason": finished,
            "usage": usage,
            "index": 0,
        }


brain = Brain()
