#!/bin/sh
# Makes what `compose.yaml` reads from `secrets/`, with random values. What is there is left alone.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
# The folder is closed to others; the files are not, because the services run as users of their own.
umask 022
random() { openssl rand -hex "$1"; }
[ ! -e secrets/manymodal.env ] || { echo "secrets/ is there already"; exit 0; }

access_key=$(random 10) secret_key=$(random 24) cache_password=$(random 24)
printf '{"identities": [{"name": "manymodal", "actions": ["Admin"],
  "credentials": [{"accessKey": "%s", "secretKey": "%s"}]}]}\n' "$access_key" "$secret_key" >secrets/identities.json
printf 'requirepass %s\n' "$cache_password" >secrets/valkey.conf
printf '%s' "$(random 16)" >secrets/grafana-password
: >secrets/manymodal-key # an API key with the scope "admin", for Prometheus: docs/operations.md, "Docker"
cat >secrets/manymodal.env <<END
MANYMODAL_SECRET=$(random 32)
MANYMODAL_STORAGE__S3__ACCESS_KEY_ID=$access_key
MANYMODAL_STORAGE__S3__SECRET_ACCESS_KEY=$secret_key
MANYMODAL_STORAGE__REDIS_URL=redis://:$cache_password@valkey:6379/0
END
chmod 600 secrets/manymodal.env
echo "Made: $(ls secrets | tr '\n' ' ')"
