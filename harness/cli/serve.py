"""The command `serve`: a Florence-2 model behind an OpenAI-compatible HTTP server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter, validators

import baselines
from baselines import Entry, Setting
from harness.cli.model_options import changed_options, options_type
from harness.cli.options import ModelSetting
from harness.errors import UsageError

LOCAL = ("127.0.0.1", "localhost", "::1")
log = logging.getLogger(__name__)


def command(entry: Entry | None) -> Callable[..., None]:
    """The command `serve` with the options of a model."""

    def serve(
        *,
        model: Annotated[str, Parameter(help="Florence-2 model (`models` lists them)")],
        host: Annotated[str, Parameter(help="Address to listen on; the server has no password")] = "127.0.0.1",
        port: Annotated[
            int, Parameter(help="Port; 0 takes a free one", validator=validators.Number(gte=0, lte=65535))
        ] = 8000,
        setting: ModelSetting = ModelSetting(),
        options: Any = None,
    ) -> None:
        """Serve a Florence-2 model by the chat-completions protocol of OpenAI, until Ctrl-C.

        The text of a request is a task token, such as <CAPTION> or <CAPTION_TO_PHRASE_GROUNDING>the cat, or any other
        prompt; the reply is the model's raw text.  `serve --model NAME --help` adds the options of that model.

        python -m harness serve --model florence2-nano --port 8000

        python -m harness run --task coco_caption --model endpoint --base-url http://127.0.0.1:8000/v1 --served florence2-nano --prompts florence2 --data miniature
        """  # noqa: E501
        from harness.florence2.predictor import Predictor
        from harness.serving.server import Server
        from harness.serving.worker import Worker

        served = baselines.find(model)
        loaded: Any = served.load(
            Setting(**asdict(setting)), **(changed_options(options) if options is not None else {})
        )
        if not isinstance(loaded, Predictor):
            raise UsageError(f"serve cannot serve {model}; it serves Florence-2 models")
        if host not in LOCAL:
            log.warning("%s: every machine that reaches this address can use the model, without a password", host)
        worker = Worker(loaded)
        with Server(worker, served.name, host, port) as server:
            print(f"serving {served.name} at {server.url} (Ctrl-C stops)", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("stopped")

    serve.__annotations__["options"] = options_type(entry)
    (serve.__kwdefaults__ or {})["options"] = entry.options() if entry is not None else None
    return serve
