"""Run one contender, and write its time and loaded rows as JSON."""

from __future__ import annotations

import argparse
import json
import time
from importlib import import_module
from pathlib import Path

import psutil

from orders_dask.contract.columns import PUBLIC
from orders_dask.contract.order_tables import fact_order, fact_order_line
from orders_dask.ledger.timings import load_timings
from orders_dask.load.connect import engine
from orders_dask.load.schema import initialise
from orders_dask.settings import load_settings
from tests.benchmarks.contenders.target import rows
from tests.benchmarks.dump import RUN_DATE

parser = argparse.ArgumentParser()
parser.add_argument("contender")
parser.add_argument("measured", type=Path)
args = parser.parse_args()

settings = load_settings()
database = engine(settings)
initialise(database)
module = import_module(f"{__package__}.{args.contender}")
with module.ready(settings) as work:
    cpu, began = psutil.cpu_times(), time.monotonic()
    work()
    seconds, ended = time.monotonic() - began, psutil.cpu_times()
    # CPU time of the whole machine: it includes the servers, and not the steal of other guests.
    busy = (ended.user + ended.system + ended.nice) - (cpu.user + cpu.system + cpu.nice)
measured = {"seconds": seconds, "cpu": busy}
for fact in (fact_order, fact_order_line):
    measured[fact.name] = rows(database, module.TARGET, fact) if module.TARGET else 0
if module.TARGET == PUBLIC:
    timings = load_timings(database, RUN_DATE)
    assert timings, "a run records the time of its steps"
    measured |= {step.step: step.seconds for step in timings.steps}
args.measured.write_text(json.dumps(measured))
