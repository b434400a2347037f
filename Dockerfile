# One image for every process of the portal: web, worker, migrations and, for trying it out, the local chain.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY requirements.lock requirements.opa.lock ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --requirement requirements.lock \
    && /opt/venv/bin/pip install --no-deps --ignore-requires-python --require-hashes --requirement requirements.opa.lock

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /app --shell /usr/sbin/nologin acgs
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY --chown=acgs:acgs portal portal
COPY --chown=acgs:acgs workflows workflows
COPY --chown=acgs:acgs chain chain
COPY --chown=acgs:acgs migrations migrations
COPY --chown=acgs:acgs templates templates
COPY --chown=acgs:acgs static static
RUN install -d -o acgs -g acgs /data
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    GOVERNANCE_WORKFLOWS_HOST=0.0.0.0 GOVERNANCE_WORKFLOWS_PORT=8008 DATA_DIR=/data
USER 10001
EXPOSE 8008
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8008/healthz', timeout=2)"]
CMD ["python", "-m", "portal", "web"]
