"""The whole ``run`` with one worker, to see what the second one brings."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.contenders import ours

TARGET = ours.TARGET

ready = partial(ours.ready, workers=1)
