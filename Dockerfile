# A headless run, for a schedule: docker run --env-file .env -v "$PWD/data:/data" -v audiences:/srv/audiences IMAGE \
#   run 3_sync_audiences -p events_path /data/segment-logs -p dry_run False
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim
COPY --from=build /wheel /wheel
COPY constraints.txt /wheel/
RUN python -m pip install --no-cache-dir --constraint /wheel/constraints.txt \
      "$(echo /wheel/*.whl)[lab,postgresql]" \
    && rm -r /wheel \
    && useradd --create-home --home-dir /srv/audiences analyst
# Outputs and a ledger of their own; a volume keeps them.
VOLUME /srv/audiences
WORKDIR /srv/audiences
USER analyst
ENTRYPOINT ["audience-toolkit"]
CMD ["--help"]
