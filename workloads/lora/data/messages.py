"""The turns of a conversation as chat templates take them, from OpenAI's, ShareGPT's and TRL's ways to write them."""

import json
from collections.abc import Mapping
from typing import Any

from .rows import BadRow, kind, text

MOST_TURNS = 1000
"""Each answer is written with all that stands before it, so that time grows with the square of the turns."""
ROLES = ("system", "user", "assistant", "tool")
_ALIASES = {
    "developer": "system",
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "observation": "tool",
    "function_call": "assistant",
}
"""OpenAI's newer name for system, and ShareGPT's names."""
_KEYS = {"role": {"content", "tool_calls", "tool_call_id", "name", "weight"}, "from": {"value", "weight"}}

Message = dict[str, Any]


def conversation(value: object, name: str) -> list[Message]:
    """The messages in a list of objects with `role` and `content`, or `from` and `value`; raises BadRow.

    A message with `weight: 0`, as OpenAI writes a turn that is not to be learned, has `trained` false.
    """
    if not isinstance(value, list):
        raise BadRow(f"{name} is {kind(value)}, not a list")
    if len(value) > MOST_TURNS:
        raise BadRow(f"{name} has {len(value)} turns, and {MOST_TURNS} are the most")
    return [_message(each, f"{name}[{number}]") for number, each in enumerate(value)]


def expect_answer(messages: list[Message], name: str) -> None:
    """Raise BadRow unless the last turn, and not the first, is the assistant's."""
    if len(messages) < 2:
        raise BadRow(f"{name} has {len(messages)} turns: expected a question and its answer")
    if messages[-1]["role"] != "assistant":
        raise BadRow(f"{name} ends with the {messages[-1]['role']}'s turn, not the assistant's")
    if messages[0]["role"] == "assistant" and messages[0]["trained"]:
        raise BadRow(f"{name} begins with the assistant's turn, which answers nothing: weight 0 keeps it unlearned")


def tools_of(value: object) -> list[dict[str, Any]] | None:
    """The functions that a conversation may call: a list of schemas, or the text of one; None where there are none."""
    found = _json(value, "tools") if isinstance(value, str) and value else value
    if found in (None, "", []):
        return None
    if not isinstance(found, list):
        raise BadRow(f"tools is {kind(found)}, not a list")
    for number, tool in enumerate(found):
        _function(tool, f"tools[{number}]")
    return found


def function_name(tool: Mapping[str, Any]) -> str:
    """The name in a tool's schema or in a call, with and without OpenAI's `function` around it."""
    inner = tool.get("function", tool)
    return str(inner["name"])


def _message(value: object, name: str) -> Message:
    if not isinstance(value, dict):
        raise BadRow(f"{name} is {kind(value)}, not an object with role and content")
    who = "from" if value.get("from") is not None and value.get("role") is None else "role"
    for key in value:
        if key != who and key not in _KEYS[who] and value[key] is not None:
            understood = " and ".join(("from", "value") if who == "from" else ("role", "content"))
            raise BadRow(f"{name} has {str(key)[:100]!r}: only {understood}, tool_calls and weight are understood")
    said = text(value.get(who), f"{name}.{who}")
    role = _ALIASES.get(said, said)
    if role not in ROLES:
        raise BadRow(f"{name}.{who} is {said[:100]!r}, none of {', '.join((*ROLES, *_ALIASES))}")
    message: Message = {"role": role, "trained": _is_trained(value, name)}
    if said == "function_call":
        call = _json(text(value.get("value"), f"{name}.value"), f"{name}.value")
        return message | {"content": "", "tool_calls": [_call(call, f"{name}.value")]}
    return message | _said(value, role, name, "value" if who == "from" else "content")


def _said(value: Mapping[str, Any], role: str, name: str, field: str) -> Message:
    """The content of a turn, with the calls of an assistant and what a tool's answer belongs to."""
    calls = value.get("tool_calls")
    if calls in (None, []):
        found: Message = {"content": _content(value.get(field), f"{name}.{field}")}
    elif role != "assistant" or not isinstance(calls, list):
        raise BadRow(f"{name}.tool_calls must be a list, and of the assistant's turn")
    else:
        content = value.get(field)
        found = {
            "content": "" if content is None else _content(content, f"{name}.{field}"),
            "tool_calls": [_call(call, f"{name}.tool_calls[{number}]") for number, call in enumerate(calls)],
        }
    for key in ("tool_call_id", "name"):
        if value.get(key) is not None:
            if role != "tool":
                raise BadRow(f"{name} has {key!r}, which only a tool's turn may have")
            found[key] = text(value[key], f"{name}.{key}")
    return found


def _content(value: object, name: str) -> str:
    """A text, or OpenAI's list of parts, of which each must be a text; they are joined by line ends."""
    if not isinstance(value, list):
        return text(value, name)
    parts = []
    for number, part in enumerate(value):
        if not isinstance(part, dict) or part.get("type") != "text":
            what = f"of type {str(part.get('type'))[:50]!r}" if isinstance(part, dict) else kind(part)
            raise BadRow(f"{name}[{number}] is {what}, not a part of type 'text'")
        parts.append(text(part.get("text"), f"{name}[{number}].text"))
    if not parts:
        raise BadRow(f"{name} is an empty list, not a text")
    return "\n".join(parts)


def _call(value: object, name: str) -> dict[str, Any]:
    """A call as templates take it: its arguments as an object, where OpenAI writes the text of one."""
    _function(value, name)
    call: dict[str, Any] = value  # type: ignore[assignment]  # which _function has seen
    inner = call.get("function", call)
    arguments = inner.get("arguments")
    if isinstance(arguments, str):
        arguments = _json(arguments, f"{name}.arguments")
    if not isinstance(arguments, dict):
        raise BadRow(f"{name}.arguments is {kind(arguments)}, not an object")
    _expect_texts(arguments, f"{name}.arguments")
    identity = {"id": text(call["id"], f"{name}.id")} if call.get("id") is not None else {}
    return {"type": "function", **identity, "function": {"name": inner["name"], "arguments": arguments}}


def _function(value: object, name: str) -> None:
    """Raise BadRow unless the value is an object, with or without `function` around it, that has a name."""
    inner = value.get("function", value) if isinstance(value, dict) else value
    if not isinstance(inner, dict):
        raise BadRow(f"{name} is {kind(inner)}, not an object that names a function")
    if not text(inner.get("name"), f"{name}.name"):
        raise BadRow(f"{name}.name is empty")
    _expect_texts(inner, name)


def _expect_texts(value: object, name: str) -> None:
    """Raise BadRow for half of a surrogate pair anywhere in a JSON value."""
    text(json.dumps(value, ensure_ascii=False), name)


def _is_trained(value: Mapping[str, Any], name: str) -> bool:
    weight = value.get("weight")
    if weight is not None and (isinstance(weight, bool) or weight not in (0, 1)):
        raise BadRow(f"{name}.weight must be 0 or 1")
    return weight != 0


def _json(value: str, name: str) -> Any:  # noqa: ANN401  # any JSON value
    try:
        return json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{name} is not JSON ({error})") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
