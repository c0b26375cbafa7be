FROM python:3.12-slim

RUN useradd --create-home --uid 10001 eventlog && install --directory --owner=eventlog --group=eventlog /data

WORKDIR /usr/src/eventlog
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY eventlog eventlog
COPY projections projections
COPY migrations migrations
RUN pip install --no-cache-dir --constraint constraints.txt '.[postgres]'

USER eventlog
WORKDIR /home/eventlog
# The files of runs, result/<run_id>/: the log itself is in the database.
ENV EVENTLOG_DATA_DIR=/data
VOLUME /data
CMD ["eventlog", "projections", "follow"]
