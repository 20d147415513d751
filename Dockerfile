# One image for the commands, the Dask scheduler and the workers, whose versions must be the same.
# docs/deployment.md tells what it weighs and how it is used.

FROM python:3.13-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
ENV VIRTUAL_ENV=/opt/orders-dask \
    PATH=/opt/orders-dask/bin:$PATH \
    PIP_ROOT_USER_ACTION=ignore \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never

# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*

# Of the lock, only what the program needs. uv checks the hashes of a constraint too, which pip does
# not; uv itself is in the lock.
COPY requirements.lock pyproject.toml ./
RUN sed -n '/^uv==/,/^    # via/p' requirements.lock > uv.lock \
    && pip install --no-cache-dir --require-hashes --requirement uv.lock \
    && uv venv "$VIRTUAL_ENV" \
    && uv pip install --constraint requirements.lock --requirement pyproject.toml

# Tests, C headers and sources, debug symbols, Arrow's RPC, Bokeh's scripts for debugging and its
# compiler, which needs Node.js. The rest is compiled once, for all that start from the image.
# Libraries in folders *.libs stay: their layout was changed after they were linked.
WORKDIR /opt/orders-dask/lib/python3.13/site-packages
RUN find . -type d -name tests -prune -exec rm -r {} + \
    && find . -type f -regex '.*\.\(a\|c\|h\|hpp\|pxd\|pxi\|pyx\)' -delete \
    && rm -r pyarrow/include pyarrow/src pyarrow/_flight.* pyarrow/libarrow_flight.* \
        bokeh/server/static/js/lib bokeh/server/static/js/compiler.js \
    && find bokeh/server/static/js -name '*.js' -not -name '*.min.js' -delete \
    && find . -name '*.so*' -type f -not -path './*.libs/*' -exec strip --strip-unneeded {} + \
    && python -m compileall -q -j 0 .

WORKDIR /build
COPY README.md LICENSE ./
COPY sql sql
COPY orders_dask orders_dask
RUN uv pip install --no-deps --compile-bytecode --build-constraint requirements.lock . \
    && rm "$VIRTUAL_ENV"/.lock

# The reader is compiled for any CPU of this architecture: see orders_dask/extract/compile_cache.py.
ENV NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/opt/orders-dask/compiled
RUN python -I -c 'from orders_dask.extract.decode.compile_once import ensure_compiled; ensure_compiled()'


FROM python:3.13-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="orders_dask" \
      org.opencontainers.image.description="Loads daily dumps of orders from S3 into PostgreSQL with Dask" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim"

# snooze waits for a time of day and starts a command: the job of the profile `daily`.
# Its version is that of the base image's Debian, whose older ones can't be had.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends snooze \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1001 --gid 0 --create-home --home-dir /home/orders --shell /usr/sbin/nologin orders

COPY --from=build /opt/orders-dask /opt/orders-dask

ENV PATH=/opt/orders-dask/bin:$PATH \
    HOME=/home/orders \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=generic \
    NUMBA_CACHE_DIR=/opt/orders-dask/compiled \
    NUMBA_CACHE_LOCATOR_CLASSES=orders_dask.extract.compile_cache.ReadOnlyCacheLocator,UserProvidedCacheLocator,InTreeCacheLocator,UserWideCacheLocator \
    MALLOC_ARENA_MAX=1 \
    ARROW_DEFAULT_MEMORY_POOL=system \
    DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH=20

USER 1001:0
WORKDIR /home/orders
STOPSIGNAL SIGTERM
CMD ["orders-dask", "--help"]
