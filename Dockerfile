# An image with dualsr_jax and what it needs. It runs the demo:
#     docker build --tag dualsr_jax . && docker run --rm dualsr_jax
# For NVIDIA GPUs (the host needs the driver and the NVIDIA container toolkit):
#     docker build --tag dualsr_jax:cuda --build-arg ACCELERATOR=cuda13 .
#     docker run --rm --gpus all dualsr_jax:cuda
# Another command, on files of the current folder:
#     docker run --rm --volume "$PWD:/data" --workdir /data dualsr_jax dualsr predict scene.hdr scene_x4.tif
FROM python:3.12-slim

RUN apt-get update && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/dualsr_jax

# First what changes rarely, so that it is installed once.
COPY requirements.lock ./
RUN python -m venv .venv && .venv/bin/pip install --no-cache-dir --requirement requirements.lock
ARG ACCELERATOR=cpu
RUN test "$ACCELERATOR" = cpu || .venv/bin/pip install --no-cache-dir \
    "jax[$ACCELERATOR]==$(.venv/bin/python -c 'import jax; print(jax.__version__)')"

COPY . .
RUN .venv/bin/pip install --no-cache-dir --no-deps --editable . && touch .venv/ready
ENV PATH=/opt/dualsr_jax/.venv/bin:$PATH
CMD ["make", "--directory=/opt/dualsr_jax", "demo"]
