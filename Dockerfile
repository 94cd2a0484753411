# florence2-harness on a CPU: docker build -t florence2-harness . && docker run --rm florence2-harness tasks
# `make package` runs the same script without a container.  CUDA, untested: --build-arg TORCH_INDEX= takes torch from PyPI.
FROM python:3.11-slim AS built
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY . /source
RUN TORCH_INDEX="$TORCH_INDEX" sh /source/packaging/install.sh /opt/harness

FROM python:3.11-slim
RUN useradd --create-home harness
COPY --from=built /opt/harness /opt/harness
USER harness
WORKDIR /home/harness
ENTRYPOINT ["/opt/harness/bin/florence2-harness"]
CMD ["--help"]
