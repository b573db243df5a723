"""What OpenAI's Responses API has and ours has not, each with its reason (tests/api/test_openai_conformance.py)."""

from __future__ import annotations

__all__ = ["RESPONSES"]

_ITEMS = """
    acknowledged_safety_checks action actions approval_request_id approve caller code container_id
    content[].type=reasoning_text environment error execution fingerprint input max_output_length namespace
    operation outputs pending_safety_checks queries reason result results server_label tools
    type=additional_tools type=apply_patch_call type=apply_patch_call_output type=code_interpreter_call
    type=compaction type=computer_call type=computer_call_output type=custom_tool_call
    type=custom_tool_call_output type=file_search_call type=image_generation_call type=local_shell_call
    type=local_shell_call_output type=mcp_approval_request type=mcp_approval_response type=mcp_call
    type=mcp_list_tools type=program type=program_output type=shell_call type=shell_call_output
    type=tool_search_call type=tool_search_output type=web_search_call
"""
_ITEMS_IN = """
    output[].outcome output[].stderr output[].stdout status=calling status=failed status=generating
    status=interpreting status=searching type=compaction_trigger
"""
_FUNCTION_MEDIA = """
    output.file_id output.image_url output.type output[].detail output[].file_data output[].file_id
    output[].file_url output[].filename output[].image_url output[].type=input_file
    output[].type=input_image
"""
_THOUGHTS = """
    encrypted_content summary type=reasoning
"""
_TOOLS = """
    action allowed_callers allowed_tools authorization background connector_id container defer_loading
    display_height display_width environment execution external_web_access filters format headers
    input_fidelity input_image_mask max_num_results model moderation output_compression output_format
    output_schema partial_images quality ranking_options require_approval search_content_types
    search_context_size server_description server_label server_url size tools tunnel_id type=apply_patch
    type=code_interpreter type=computer type=computer_use_preview type=custom type=file_search
    type=image_generation type=local_shell type=mcp type=namespace type=programmatic_tool_calling type=shell
    type=tool_search type=web_search type=web_search_2025_08_26 type=web_search_preview
    type=web_search_preview_2025_03_11 user_location vector_store_ids
"""
_CHOICES = """
    server_label type=apply_patch type=code_interpreter type=computer type=computer_use
    type=computer_use_preview type=custom type=file_search type=image_generation type=mcp
    type=programmatic_tool_calling type=shell type=web_search_preview type=web_search_preview_2025_03_11
"""
_TOOL_EVENTS = """
    background command command_index delta.stderr delta.stdout input output output_format partial_image_b64
    partial_image_index quality size status type=response.code_interpreter_call.completed
    type=response.code_interpreter_call.in_progress type=response.code_interpreter_call.interpreting
    type=response.code_interpreter_call_code.delta type=response.code_interpreter_call_code.done
    type=response.custom_tool_call_input.delta type=response.custom_tool_call_input.done
    type=response.file_search_call.completed type=response.file_search_call.in_progress
    type=response.file_search_call.searching type=response.image_generation_call.completed
    type=response.image_generation_call.generating type=response.image_generation_call.in_progress
    type=response.image_generation_call.partial_image type=response.mcp_call.completed
    type=response.mcp_call.failed type=response.mcp_call.in_progress type=response.mcp_call_arguments.delta
    type=response.mcp_call_arguments.done type=response.mcp_list_tools.completed
    type=response.mcp_list_tools.failed type=response.mcp_list_tools.in_progress
    type=response.shell_call_command.added type=response.shell_call_command.delta
    type=response.shell_call_command.done type=response.shell_call_output_content.delta
    type=response.shell_call_output_content.done type=response.web_search_call.completed
    type=response.web_search_call.in_progress type=response.web_search_call.searching
"""
_THOUGHT_EVENTS = """
    part.type=reasoning_text part.type=summary_text summary_index type=response.reasoning_summary_part.added
    type=response.reasoning_summary_part.done type=response.reasoning_summary_text.delta
    type=response.reasoning_summary_text.done type=response.reasoning_text.delta
    type=response.reasoning_text.done
"""
_REFUSALS = """
    refusal type=response.refusal.delta type=response.refusal.done
"""
_ANNOTATIONS = """
    annotation annotation_index type=response.output_text.annotation.added
"""
_SOUND = """
    type=response.audio.delta type=response.audio.done type=response.audio.transcript.delta
    type=response.audio.transcript.done
"""
_OUTPUTS_OF_TOOLS = """
    output[].created_by output[].outcome output[].prompt_cache_breakpoint output[].stderr output[].stdout
"""

_NO_TOOL = (
    "only functions of the client's own are offered as tools: there are no calls of others, nor results"
)
_NO_THOUGHTS = "what a model thinks is not shown, and not needed for its next turn"
_NO_REFUSALS = "the models here refuse in words; what is filtered ends a response as incomplete"
_TEXT_ONLY = "functions answer with text: chat templates have no place for media in a tool's answer"
_CACHED = "the engine finds by itself which beginnings of prompts are alike"
_BY_ID = "media are kept by id, however they came"
_OTHERS: dict[str, str] = {
    "conversation": "a conversation is named by its last response",
    "prompt": "there are no prompt templates",
    "moderation": "what is refused is the operator's choice, per tenant; scores are told by /v1/moderations",
}


def _at(prefix: str, names: str, reason: str) -> dict[str, str]:
    return dict.fromkeys((prefix + name for name in names.split()), reason)


def _answer(prefix: str) -> dict[str, str]:
    """A response that is answered."""
    output = f"{prefix}output[]."
    return {
        **{prefix + name: reason for name, reason in _OTHERS.items()},
        **_output(output),
        **_at(prefix + "tools[].", _TOOLS, _NO_TOOL),
        **_at(prefix + "tool_choice.", _CHOICES, _NO_TOOL),
        prefix + "instructions[]": "instructions are a text, as they are in a request",
        prefix + "output_text": "made by OpenAI's clients of the output",
        prefix + "prompt_cache_options": _CACHED,
    }


def _output(prefix: str) -> dict[str, str]:
    return {
        **_at(prefix, _ITEMS, _NO_TOOL),
        **_at(prefix, _THOUGHTS, _NO_THOUGHTS),
        **_at(
            prefix,
            "created_by output type=function_call_output",
            "functions are the client's: no output has theirs",
        ),
        prefix + "phase": "answers have one phase",
    }


RESPONSES: dict[str, dict[str, str]] = {
    "POST /responses request": {
        **_OTHERS,
        "context_management": "conversations are not compacted",
        **_at("input[].", _ITEMS, _NO_TOOL),
        **_at("input[].", _ITEMS_IN, _NO_TOOL),
        **_at("input[].", _FUNCTION_MEDIA, _TEXT_ONLY),
        **_at("tools[].", _TOOLS, _NO_TOOL),
        **_at("tool_choice.", _CHOICES, _NO_TOOL),
    },
    "POST /responses answer": _answer(""),
    "POST /responses events": {
        **_answer("response."),
        **_output("item."),
        **_at("", _TOOL_EVENTS, _NO_TOOL),
        **_at("", _THOUGHT_EVENTS, _NO_THOUGHTS),
        **_at("", _REFUSALS, _NO_REFUSALS),
        **_at("", _ANNOTATIONS, _NO_TOOL),
        **_at("", _SOUND, "answers are text: sound is made by /v1/audio/speech"),
        "type=response.queued": "nothing is made in the background",
    },
    "GET /responses/{} answer": _answer(""),
    "POST /responses/{}/cancel answer": _answer(""),
    "GET /responses/{}/input_items answer": {
        **_at("data[].", _ITEMS, _NO_TOOL),
        **_at("data[].", _THOUGHTS, _NO_THOUGHTS),
        **_at("data[].", _FUNCTION_MEDIA, _TEXT_ONLY),
        **_at("data[].", _OUTPUTS_OF_TOOLS, _NO_TOOL),
        **_at("data[].content[].", "file_data file_url image_url", _BY_ID),
        "data[].content[].prompt_cache_breakpoint": _CACHED,
        "data[].created_by": "items are made by the tenant",
        "data[].phase": "answers have one phase",
    },
}
"""By route and side, as ``DIFFERENCES`` there."""
