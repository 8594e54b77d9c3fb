# The three long-running processes and the commands, without the embedded servers.
FROM python:3.11-slim-trixie AS build
WORKDIR /src
COPY pyproject.toml requirements.txt README.md ./
COPY schemas schemas
COPY projections projections
COPY projector projector
COPY read_api read_api
# requirements.txt as constraints: its versions, but only of what the processes need
RUN python -m venv /opt/prejoin && /opt/prejoin/bin/pip install --no-cache-dir --constraint requirements.txt .

FROM python:3.11-slim-trixie
RUN useradd --system --uid 10001 --create-home prejoin
COPY --from=build /opt/prejoin /opt/prejoin
ENV PATH=/opt/prejoin/bin:$PATH PYTHONUNBUFFERED=1
USER prejoin
WORKDIR /home/prejoin
CMD ["prejoin", "--help"]
