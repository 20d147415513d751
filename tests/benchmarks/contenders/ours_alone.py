"""The whole ``run`` with one worker, to measure the gain of a second one."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.contenders import ours

TARGET = ours.TARGET

ready = partial(ours.ready, workers=1)
