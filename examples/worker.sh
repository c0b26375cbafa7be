#!/usr/bin/env bash
# A worker in a shell: it claims jobs of the kind `checksum` over HTTP, does them, and says how it went. Needs curl, jq.
#
#   EVENTLOG_TOKEN=$(cat log.db.token) examples/worker.sh http://127.0.0.1:8411 [QUEUE]
#
# UNTIL_EMPTY=1 ends it when nothing waits.
set -euo pipefail
server=$1 queue=${2:-default}

# ask PATH [JSON]: POST, and print the answer. The token stands in no command line, where others could read it.
ask() {
    curl --silent --show-error --fail-with-body --max-time 30 "$server$1" --data "${2:-{\}}" \
        --header 'Content-Type: application/json' \
        --header @<(printf 'Authorization: Bearer %s' "$EVENTLOG_TOKEN")
}

worker=$(ask /api/workers "$(jq -n --arg host "$(uname -n)" '{host: $host, lease_us: 30000000}')" | jq -r .worker_id)
while sleep 10; do ask "/api/workers/$worker/beat" '' || true; done >/dev/null 2>&1 &
beats=$!
trap 'kill $beats; ask "/api/workers/$worker/stop" >/dev/null' EXIT
trap exit INT TERM
wish=$(jq -n --arg worker "$worker" --arg queue "$queue" '{worker_id: $worker, queues: [$queue], kinds: ["checksum"]}')

while true; do
    job=$(ask /api/jobs/claim "$wish" | jq -c '.[0] // empty')
    if [[ -z $job ]]; then
        [[ -z ${UNTIL_EMPTY:-} ]] || break
        sleep 0.5
        continue
    fi
    id=$(jq -r .job_id <<<"$job") token=$(jq -r .token <<<"$job")
    if text=$(jq -er '.args.text | strings' <<<"$job"); then
        sum=$(printf %s "$text" | sha256sum | cut -d ' ' -f 1)
        said=$(jq -n --argjson token "$token" --arg sum "$sum" '{token: $token, result: {sha256: $sum, by: "shell"}}')
        ask "/api/jobs/$id/complete" "$said" >/dev/null
    else
        said=$(jq -n --argjson token "$token" \
            '{token: $token, error_type: "NoText", message: "args.text is missing", retryable: false}')
        ask "/api/jobs/$id/fail" "$said" >/dev/null
    fi
    echo "job $id done"
done
