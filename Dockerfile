# lsuv as an image; docs/docker.md says how to build and run it.
#
#     docker build -t lsuv .                    # for NVIDIA GPUs, and for the CPU where there is none
#     docker build -t lsuv:cpu --target cpu .   # much smaller
#
# A base is Debian, Ubuntu or an official image of Python, with Python 3.11 or newer.
ARG CPU_BASE=debian:bookworm-slim
# CUDA's libraries come as the wheels that ONNX Runtime names: a `runtime` base brings others too.
ARG CUDA_BASE=nvidia/cuda:13.0.2-base-ubuntu24.04

FROM ${CPU_BASE} AS cpu-base
RUN command -v python3 >/dev/null || { apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/*; }

FROM cpu-base AS cpu-build
RUN python3 -m pip --version >/dev/null 2>&1 || { apt-get update \
    && apt-get install -y --no-install-recommends python3-pip; }
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY lsuv_cli lsuv_cli
# Of its own accord pip would take PyTorch's build for CUDA, gigabytes of it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_NO_CACHE_DIR=1 PIP_PYTHON=/opt/lsuv/bin/python
RUN python3 -m venv --without-pip /opt/lsuv
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m pip install --no-deps --index-url "$TORCH_INDEX" torch
# Without CUDA's kernels ONNX Runtime is a tenth of the size.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m pip install '.[data]' \
    && python3 -m pip uninstall -y onnxruntime-gpu \
    && python3 -m pip install --no-deps onnxruntime
# Headers and test programs, which are for those who build on these libraries.
RUN cd /opt/lsuv/lib/python3*/site-packages \
    && rm -r torch/include torch/test pyarrow/include pyarrow/tests \
    && find torch/bin -type f ! -name torch_shm_manager -delete

FROM cpu-base AS cpu
COPY --from=cpu-build /opt/lsuv /opt/lsuv
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="lsuv" \
    org.opencontainers.image.description="Initialise deep networks from data: LSUV for ONNX models" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.licenses="MIT"
# --user may name somebody who has no home here.
ENV PATH=/opt/lsuv/bin:$PATH HOME=/tmp LANG=C.UTF-8
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["lsuv"]

FROM ${CUDA_BASE} AS cuda-base
RUN command -v python3 >/dev/null || { apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/*; }

FROM cuda-base AS cuda-build
RUN python3 -m pip --version >/dev/null 2>&1 || { apt-get update \
    && apt-get install -y --no-install-recommends python3-pip; }
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY lsuv_cli lsuv_cli
# ONNX Runtime does the GPU's work; PyTorch's build for CUDA would only speed up drawing.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# "data" where the base has CUDA's libraries and cuDNN.
ARG EXTRAS=data,cuda
ENV PIP_CONSTRAINT=/src/constraints.txt PIP_NO_CACHE_DIR=1 PIP_PYTHON=/opt/lsuv/bin/python
RUN python3 -m venv --without-pip /opt/lsuv
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m pip install --no-deps --index-url "$TORCH_INDEX" torch
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m pip install ".[$EXTRAS]"
RUN cd /opt/lsuv/lib/python3*/site-packages \
    && rm -r torch/include torch/test pyarrow/include pyarrow/tests \
    && find torch/bin -type f ! -name torch_shm_manager -delete

FROM cuda-base AS cuda
COPY --from=cuda-build /opt/lsuv /opt/lsuv
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="lsuv" \
    org.opencontainers.image.description="Initialise deep networks from data: LSUV for ONNX models" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/lsuv/bin:$PATH HOME=/tmp LANG=C.UTF-8 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["lsuv"]
