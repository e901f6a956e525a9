# The program `splitner` with what JAX needs for one kind of machine:
#   docker build --target=cpu -t splitner_jax:cpu .   # also cuda, tpu
#   docker run -v "$PWD/runs:/runs" splitner_jax:cpu \
#     train --config=configs/wnut17.py --workdir=/runs/wnut17
# Runs as user 1000, who has to be able to write to what is mounted.

FROM python:3.11-slim AS build
RUN python -m venv /opt/venv
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PATH=/opt/venv/bin:$PATH
WORKDIR /src
# The versions with which the figures were made.
COPY launch/constraints.txt requirements.txt ./
ENV PIP_CONSTRAINT=/src/constraints.txt
# Kept by the builder until these change, whatever changes in the package.
RUN pip install -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY splitner_jax ./splitner_jax

# What follows installs the folder: there is no version to name.
FROM build AS build-cpu
RUN pip install .

FROM build AS build-cuda
# hadolint ignore=DL3013
RUN pip install ".[cuda]"

FROM build AS build-tpu
# hadolint ignore=DL3013
RUN pip install ".[tpu]"

FROM python:3.11-slim AS base
RUN useradd --uid=1000 --create-home splitner \
  && install --directory --owner=splitner /runs /data
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /app
COPY configs ./configs
USER 1000
ENTRYPOINT ["splitner"]
CMD ["--help"]

FROM base AS cuda
COPY --from=build-cuda /opt/venv /opt/venv

FROM base AS tpu
COPY --from=build-tpu /opt/venv /opt/venv

FROM base AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
