"""Rules of OpenAI's chat requests that concern several fields at once."""

from __future__ import annotations

from serving.chat_messages import texts_of
from serving.errors import InvalidRequest
from serving.json_schemas import check_schema
from serving.protocol.chat import (
    AssistantMessage,
    ChatRequest,
    FunctionMessage,
    ToolMessage,
)
from serving.protocol.tools import (
    AllowedToolsChoice,
    FunctionName,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedToolChoice,
)

__all__ = ["check_rules"]


def check_rules(request: ChatRequest, *, takes_tools: bool = True) -> None:
    """Raise ``InvalidRequest`` with OpenAI's words where fields of ``request`` do not go together.

    ``takes_tools`` says whether the served model can call functions. Takes time in proportion to the request.
    """
    _check_lengths(request)
    _check_tools(request, takes_tools)
    _check_format(request)
    _check_history(request)


def _check_lengths(request: ChatRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
        )
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise InvalidRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequest(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", "top_logprobs"
        )


def _check_tools(request: ChatRequest, takes_tools: bool) -> None:
    if request.functions is not None and (request.tools is not None or request.tool_choice is not None):
        raise InvalidRequest("Both 'tools' and 'functions' are set; set only 'tools'.", "functions")
    if request.function_call is not None and request.functions is None:
        raise InvalidRequest(
            "'function_call' is only allowed when 'functions' are specified.", "function_call"
        )
    for name, given in (
        ("tool_choice", request.tool_choice not in (None, "none")),
        ("parallel_tool_calls", request.parallel_tool_calls is not None),
    ):
        if given and request.tools is None:
            raise InvalidRequest(f"'{name}' is only allowed when 'tools' are specified.", name)
    functions = request.functions or [tool.function for tool in request.tools or ()]
    where = "functions" if request.functions is not None else "tools"
    if functions and not takes_tools:
        raise InvalidRequest(f"'{where}' is not supported with this model.", where, "unsupported_parameter")
    names = {function.name for function in functions}
    if len(names) < len(functions):
        raise InvalidRequest(f"Two of the {where} have the same name.", where)
    for place, function in enumerate(functions):
        inner = "" if where == "functions" else ".function"
        check_schema(
            function.parameters or {},
            f"function '{function.name}'",
            f"{where}[{place}]{inner}.parameters",
            "invalid_function_parameters",
            strict=function.strict is True,
        )
    choice = request.tool_choice
    if isinstance(choice, NamedToolChoice) and choice.function.name not in names:
        raise _not_among("tool_choice.function.name", choice.function.name, "tools")
    if isinstance(request.function_call, FunctionName) and request.function_call.name not in names:
        raise _not_among("function_call.name", request.function_call.name, "functions")
    if isinstance(choice, AllowedToolsChoice):
        for place, allowed in enumerate(choice.allowed_tools.tools):
            if allowed.function.name not in names:
                path = f"tool_choice.allowed_tools.tools[{place}].function.name"
                raise _not_among(path, allowed.function.name, "tools")


def _not_among(param: str, name: str, where: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for '{param}': there is no function '{name}' in '{where}'.", param)


def _check_format(request: ChatRequest) -> None:
    wanted = request.response_format
    if isinstance(wanted, JsonSchemaFormat) and wanted.json_schema.json_schema is not None:
        check_schema(
            wanted.json_schema.json_schema,
            f"response_format '{wanted.json_schema.name}'",
            "response_format",
            "invalid_json_schema",
            strict=wanted.json_schema.strict is True,
        )
    if isinstance(wanted, JsonObjectFormat) and not any("json" in text.lower() for text in texts_of(request)):
        raise InvalidRequest(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.",
            "messages",
        )


def _check_history(request: ChatRequest) -> None:
    """Every call of a tool is answered next, and nothing else is."""
    open_calls: set[str] = set()
    called_at = 0
    for place, message in enumerate(request.messages):
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in open_calls:
                raise InvalidRequest(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding message with "
                    "'tool_calls'.",
                    f"messages[{place}].role",
                )
            open_calls.discard(message.tool_call_id)
            continue
        _check_answered(open_calls, called_at)
        if isinstance(message, AssistantMessage):
            open_calls, called_at = {call.id for call in message.tool_calls or ()}, place
            said = (message.tool_calls, message.function_call, message.refusal)
            if message.content is None and not any(said):
                raise InvalidRequest(
                    f"Invalid value for 'messages[{place}].content': expected a string, got null.",
                    f"messages[{place}].content",
                )
        elif isinstance(message, FunctionMessage) and not _follows_call(request, place):
            raise InvalidRequest(
                "Invalid parameter: messages with role 'function' must be a response to a preceding message "
                "with 'function_call'.",
                f"messages[{place}].role",
            )
    _check_answered(open_calls, called_at)


def _check_answered(open_calls: set[str], called_at: int) -> None:
    if open_calls:
        raise InvalidRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. These have none: {', '.join(sorted(open_calls))[:200]}.",
            f"messages[{called_at}]",
        )


def _follows_call(request: ChatRequest, place: int) -> bool:
    before = request.messages[place - 1] if place else None
    return isinstance(before, AssistantMessage) and before.function_call is not None
