"""Start the editor: python app.py [--model NAME_OR_FILE] [--host HOST] [--port PORT]"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: nothing is reported

GRACE = 1.5  # seconds from the order to end until the process does, whatever it is computing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model",
        default=os.environ.get("VAR_EDITOR_MODEL", "garden-2"),
        help="registered name or a .safetensors file",
    )
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument(
        "--port", type=int, default=None, help="default: GRADIO_SERVER_PORT, or the first free one from 7860"
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], help="a name under which a proxy in front asks for the page"
    )
    args = parser.parse_args()
    for order in (signal.SIGTERM, signal.SIGINT):
        signal.signal(order, _end)
    folder = Path(tempfile.gettempdir()) / f"var-editor-{secrets.token_hex(8)}"  # named before it is made
    try:
        folder.mkdir(mode=0o700)
        tempfile.tempdir = str(folder)  # of uploads, results and all else: gone when the server ends
        _serve(args)
    except KeyboardInterrupt:
        pass
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        _remove(folder)
    return 0


def _remove(folder: Path) -> None:
    """All of it, also what a thread that is still ending writes meanwhile."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def _end(number: int, frame: FrameType | None) -> None:
    """End in order; what has not ended after GRACE seconds is cut off."""
    last = threading.Timer(GRACE, _cut_off)
    last.daemon = True
    last.start()
    raise KeyboardInterrupt


def _cut_off() -> None:
    if tempfile.tempdir is not None:
        _remove(Path(tempfile.tempdir))
    os._exit(0)


def _serve(args: argparse.Namespace) -> None:
    """The page, until the server is told to end. ValueError where it cannot begin."""
    uploads = Path(os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(tempfile.gettempdir()) / "gradio")))
    from app import address, zero

    address.go_direct(args.host)
    address.check(args.host, args.port)
    zero.ready()
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from app import housekeeping, ui
    from app.door import Door
    from app.engines import Engines
    from app.session import MOST
    from app.turns import OF_ALL
    from var_core import find_model
    from var_core.files.images import MAX_BYTES

    find_model(args.model)
    names = Middleware(TrustedHostMiddleware, allowed_hosts=address.names(args.host, args.allow_host))
    engines = Engines(args.model)
    page = ui.build(engines)
    engines.start()
    try:
        # api_open: what goes through the queue is not to be had past it
        page.queue(max_size=128, default_concurrency_limit=8, api_open=False).launch(
            server_name=args.host,
            server_port=args.port,
            theme=ui.theme(),
            head=ui.HEAD,
            ssr_mode=False,
            run_history=False,
            show_error=False,
            max_file_size=MAX_BYTES,
            footer_links=["api"],
            max_threads=OF_ALL + 32,  # a run that waits for its turn holds one
            state_session_capacity=MOST,
            app_kwargs={"middleware": [names, Middleware(Door, folder=uploads)]},
            prevent_thread_lock=True,
        )
        ending = threading.Event()
        housekeeping.start(page, engines, ending)
        ending.wait()
    finally:
        engines.close()  # first: no run may go on while the connections are closed
        page.close()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads that are still ending would make the folder anew
