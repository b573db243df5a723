"""vLLM's ``AsyncLLM`` and vLLM's own OpenAI application, started without a socket.

All of vLLM's protocol code (chat templates, tools, structured output, log-probabilities, usage, errors) stays in
use; this module only builds the pieces that ``vllm.entrypoints.launchers.api_server.entry`` builds, in its order.
"""

from __future__ import annotations

import asyncio
import multiprocessing.forkserver
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

from serving.config import EngineConfig
from serving.engines.asgi import call_asgi
from serving.engines.attachments import AttachmentWriter
from serving.engines.image_places import ImagePlaces
from serving.engines.media_connector import install_connector, install_soft_loader
from serving.engines.native_media import NativeMedia
from serving.engines.placeholders import PlaceholderBreaker, placeholder_of, placeholders_of
from serving.engines.second_try import answered_again
from serving.engines.soft_prompts import SoftPrompts
from serving.errors import EngineRefused, EngineUnavailable
from serving.services import Attachment, EngineResponse, NativeMedium, Perception

__all__ = ["VllmEngine"]

_ROUTES: Final = frozenset({("POST", "/v1/chat/completions"), ("GET", "/metrics")})


class VllmEngine:
    """A decoder on vLLM, in this process, answering HTTP requests handed over as values.

    The constructor blocks until the weights are loaded. Satisfies ``serving.services.ChatEngine``. The engine
    core ends with this process (``serving.engines.fork_server``); nothing needs to be shut down. ``perception`` is
    asked for the pixels and the sound of native media.
    """

    def __init__(self, config: EngineConfig, perception: Perception | None = None) -> None:
        _start_engine_core_from_forkserver()

        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
        from vllm.usage.usage_lib import UsageContext
        from vllm.utils.argparse_utils import FlexibleArgumentParser
        from vllm.v1.engine.async_llm import AsyncLLM

        self._arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(config.arguments())
        _keep_a_slot_of_adapters_empty(self._arguments)
        validate_parsed_serve_args(self._arguments)
        install_connector()
        install_soft_loader()
        engine_arguments = AsyncEngineArgs.from_cli_args(self._arguments)
        vllm_config = engine_arguments.create_engine_config(UsageContext.OPENAI_API_SERVER)
        _let_media_stand_in_their_places(vllm_config.model_config)
        self._llm = AsyncLLM.from_vllm_config(
            vllm_config,
            usage_context=UsageContext.OPENAI_API_SERVER,
            enable_log_requests=engine_arguments.enable_log_requests,
            disable_log_stats=engine_arguments.disable_log_stats,
        )
        self._attached = self._writer(config, perception)
        self._app: Any = None
        self._building = asyncio.Lock()

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        attachments: tuple[Attachment, ...] = (),
    ) -> AsyncGenerator[EngineResponse | bytes, None]:
        """Answer one HTTP request through vLLM's application; see ``ChatEngine.request``.

        Raises ``EngineRefused`` for all routes but the two that the platform uses: others of vLLM's load adapters,
        put the engine to sleep, or take prompts past all that the gateway checks.
        """
        if (method, path) not in _ROUTES:
            raise EngineRefused("The model's engine does not offer this.")
        if self._llm.errored:
            raise EngineUnavailable(
                "The model has stopped and is being restarted. Please try again in a minute."
            )
        application = await self._application()
        async with self._attached.written(body, attachments) as written:
            call = partial(call_asgi, application, method, path, headers, written.body)
            native = any(isinstance(item, NativeMedium) for item in attachments)
            async with aclosing(answered_again(call) if native else call()) as answer:
                async for item in answer:
                    written.was_read()
                    yield item

    async def ready(self) -> bool:
        """Whether the engine core is alive and the application is built."""
        await self._application()
        return not self._llm.errored

    def _writer(self, config: EngineConfig, perception: Perception | None) -> AttachmentWriter:
        model, renderer = self._llm.model_config, self._llm.renderer
        width = model.get_inputs_embeds_size()
        soft = SoftPrompts(
            config.soft_tokens_as,
            config.soft_tokens_of or config.served_model_name,
            width,
            config.context_tokens,
        )
        if config.soft_tokens_as == "image_embeds":
            soft = replace(soft, place_tokens=ImagePlaces(renderer, model, width).tokens_for)
        return AttachmentWriter(
            soft,
            NativeMedia(perception, config.pixel_cache_bytes, config.media_timeout_seconds),
            config.native_limits,
            PlaceholderBreaker(placeholders_of(model, renderer.get_tokenizer())),
        )

    async def _application(self) -> Any:
        # Built on first use, because building needs the event loop that will serve it.
        async with self._building:
            if self._app is None:
                from vllm.entrypoints.launchers.api_server.app_state import init_app_state
                from vllm.entrypoints.launchers.app import build_app

                tasks = await self._llm.get_supported_tasks()
                app = build_app(self._arguments, tasks, self._llm.model_config)
                # An error handler of vLLM's looks for the server it believes to run in.
                app.state.server = SimpleNamespace()
                await init_app_state(self._llm, app.state, self._arguments, tasks)
                self._app = app
            return self._app


def _let_media_stand_in_their_places(model_config: Any) -> None:
    """Let media stand among the words where they were put, also in templates that take a message as one text.

    Without this vLLM puts all media of a message before its words. It can only be told so where the model has a
    word for the place of a medium; BLIP-2 has none, its picture always comes first.
    """
    if model_config.multimodal_config is not None and any(
        placeholder_of(model_config, kind) for kind in ("image", "video", "audio")
    ):
        model_config.multimodal_config.interleave_mm_strings = True


def _keep_a_slot_of_adapters_empty(arguments: Any) -> None:
    """On CPU: let there be one slot more than adapters, so that the last one never holds any.

    vLLM 0.32's operations on CPU take the weights of slot -1, the last, for requests that ask for no adapter and
    share a step with some that do: their answers would come from whichever adapter lies there
    (``tests/contract/engines/test_adapters.py``). Its GPU kernels leave such requests out.
    """
    from vllm.platforms import current_platform

    if arguments.lora_modules and current_platform.is_cpu():
        arguments.max_loras = len(arguments.lora_modules) + 1
        arguments.max_cpu_loras = arguments.max_loras


def _start_engine_core_from_forkserver() -> None:
    """Let the engine core come from a fork server that imports vLLM while this process imports it too.

    vLLM runs its engine core in a process of its own and knows two ways to make it: ``spawn`` imports
    everything a second time, one after the other; ``fork`` would copy Ray's threads and locks. vLLM's own
    launcher still uses a fork server where its settings ask for it, but the setting's validator has dropped
    the word, so the validated entry is replaced here.
    """
    multiprocessing.forkserver.set_forkserver_preload(
        ["serving.engines.fork_server", "vllm.v1.engine.core", "vllm.v1.worker.cpu_worker"]
    )
    multiprocessing.forkserver.ensure_running()

    from vllm import envs

    envs.environment_variables["VLLM_WORKER_MULTIPROC_METHOD"] = lambda: "forkserver"
