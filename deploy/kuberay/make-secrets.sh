#!/bin/sh
# Makes the Secrets that the manifests name, with random values where none are given. Makes all of them or none.
#   cpu-test: deploy/kuberay/make-secrets.sh
#   gpu:      S3_ACCESS_KEY_ID=... S3_SECRET_ACCESS_KEY=... CACHE_REDIS_URL=rediss://... GCS_REDIS_PASSWORD=... \
#             deploy/kuberay/make-secrets.sh
set -eu
namespace=${NAMESPACE:-manymodal}
kubectl=${KUBECTL:-kubectl}
umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

secrets="manymodal manymodal-ray manymodal-gcs"
[ -n "${CACHE_REDIS_URL:-}" ] || secrets="$secrets manymodal-cache"
[ -n "${S3_ACCESS_KEY_ID:-}" ] || secrets="$secrets manymodal-s3"

"$kubectl" get namespace "$namespace" >/dev/null 2>&1 || "$kubectl" create namespace "$namespace"
there=
for secret in $secrets; do
  if "$kubectl" --namespace "$namespace" get secret "$secret" >/dev/null 2>&1; then there="$there $secret"; fi
done
if [ -n "$there" ]; then
  [ "$there" = " $secrets" ] && echo "All are there already." && exit 0
  # The values of one stand in another: new ones would not fit those that are there.
  echo "These are there already:$there. Delete them, or make the others by hand with values that fit." >&2
  exit 1
fi

random() { openssl rand -hex "$1"; }
# Values go through files: arguments can be read by whoever lists processes.
value() { printf '%s' "$2" >"$folder/$1"; }
make() {
  secret=$1 && shift
  for key in "$@"; do set -- "$@" "--from-file=$key=$folder/$key" && shift; done
  "$kubectl" --namespace "$namespace" create secret generic "$secret" "$@"
}

access_key=${S3_ACCESS_KEY_ID:-$(random 10)}
secret_key=${S3_SECRET_ACCESS_KEY:-$(random 24)}
cache_password=$(random 24)

value auth_token "$(random 32)"
make manymodal-ray auth_token
value password "${GCS_REDIS_PASSWORD:-$(random 24)}"
make manymodal-gcs password
if [ -z "${CACHE_REDIS_URL:-}" ]; then
  value password "$cache_password"
  make manymodal-cache password
fi
if [ -z "${S3_ACCESS_KEY_ID:-}" ]; then
  value identities.json "{\"identities\": [{\"name\": \"manymodal\", \"actions\": [\"Admin\"],
    \"credentials\": [{\"accessKey\": \"$access_key\", \"secretKey\": \"$secret_key\"}]}]}"
  make manymodal-s3 identities.json
fi
value MANYMODAL_SECRET "${MANYMODAL_SECRET:-$(random 32)}"
value MANYMODAL_STORAGE__S3__ACCESS_KEY_ID "$access_key"
value MANYMODAL_STORAGE__S3__SECRET_ACCESS_KEY "$secret_key"
value MANYMODAL_STORAGE__REDIS_URL "${CACHE_REDIS_URL:-redis://:$cache_password@manymodal-cache:6379/0}"
make manymodal MANYMODAL_SECRET MANYMODAL_STORAGE__S3__ACCESS_KEY_ID MANYMODAL_STORAGE__S3__SECRET_ACCESS_KEY \
  MANYMODAL_STORAGE__REDIS_URL
