# The application and its dependencies, for one host or a cluster: see docker/README.md and docs/cluster.md.
# Code and packages belong to root and are read-only; runs and data are written to /out.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib

COPY docker/requirements.lock /app/docker/
RUN python -m pip install --no-cache-dir --no-compile --no-deps --require-hashes -r /app/docker/requirements.lock

COPY LICENSE README.md /app/
COPY docker/healthcheck.sh /app/docker/
COPY configs /app/configs
COPY lightning_flows /app/lightning_flows
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /tmp flows \
 && install -d -o flows -g flows /out

USER 1000:1000
WORKDIR /out
VOLUME /out
HEALTHCHECK --interval=5m --timeout=30s --start-period=1h --retries=3 CMD ["/app/docker/healthcheck.sh"]
ENTRYPOINT ["python", "-m", "lightning_flows"]
CMD ["--help"]
