"""Reads a scrape with the parser of Prometheus' Python client, and prints Waykeeper's metrics as JSON."""

import json
import sys

from prometheus_client.parser import text_fd_to_metric_families

families = {}
for family in text_fd_to_metric_families(sys.stdin):
    if not family.name.startswith("waykeeper_"):
        continue
    assert family.name not in families, f"{family.name} stands there twice"
    samples = [{"name": sample.name, "labels": sample.labels, "value": sample.value} for sample in family.samples]
    families[family.name] = {"type": family.type, "samples": samples}
json.dump(families, sys.stdout)
