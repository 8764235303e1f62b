"""A real Prometheus that scrapes an end of the lab, and promtool."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from lab.daemon import free_port
from lab.process import Process, wait


def promtool(*words: str, stdin: str = "") -> str:
    """Run promtool; what it complains of, with what it says: empty if all is well."""
    done = subprocess.run(["promtool", *words], input=stdin, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 and not done.stderr else done.stdout + done.stderr


def scrape(port: int, page: str = "/metrics") -> str:
    """What stands at a page just now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


class Prometheus(Process):
    """Scrapes ports of this host each half second, under the names of their jobs; ``rules`` is a file of alerts."""

    def __init__(self, directory: Path, rules: Path, **jobs: int) -> None:
        scraped = [{"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in jobs.items()]
        config = directory / "prometheus.json"  # JSON is YAML
        asked = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
        config.write_text(json.dumps({"global": asked, "rule_files": [f"{rules}"], "scrape_configs": scraped}))
        self._port = free_port()
        data = f"--storage.tsdb.path={directory / 'prometheus'}"
        listens = f"--web.listen-address=127.0.0.1:{self._port}"
        super().__init__(["prometheus", f"--config.file={config}", data, listens], directory / "prometheus.log")
        self.wait_log("Server is ready to receive web requests", 60)

    def query(self, expression: str) -> dict[str, float]:
        """An instant query: each series by its labels as JSON, sorted, without those of the scrape; and its value."""
        return {
            json.dumps({key: value for key, value in sorted(found["metric"].items()) if key not in ("instance", "__name__")}): float(
                found["value"][1]
            )
            for found in self._asked("query", query=expression)["result"]
        }

    def value(self, expression: str) -> float | None:
        """The value of the only series; None if there is none."""
        found = [*self.query(expression).values()]
        return found[0] if found else None

    def wait(self, expression: str, timeout: float = 60) -> None:
        """Wait until an expression has a result."""
        wait(lambda: bool(self.query(expression)), timeout, expression, self, pause=0.3)

    def alerts(self) -> set[str]:
        """The names of the alerts that fire, or soon will."""
        return {alert["labels"]["alertname"] for alert in self._asked("alerts")["alerts"]}

    def _asked(self, what: str, **words: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            told: dict[str, Any] = json.load(answer)["data"]
        return told
