#!/bin/sh
# certificates.sh FOLDER [HOST...]: make the certificates of a trial with TLS; those that are there stay.
#
# ca.pem signs both pairs: dask.pem with dask.key for client, scheduler and workers, and postgres.pem
# with postgres.key for PostgreSQL at the host names given. ca.key signs more; keep it elsewhere.
# Whoever can read dask.key can run code on the workers.
set -eu
folder=${1:?certificates.sh FOLDER [HOST...]: give the folder to write to}
shift
[ $# -gt 0 ] || set -- postgres localhost
cd "$folder"
umask 027

new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

# make_pair NAME EXTENSIONS: make NAME.key, and NAME.pem that the CA signed.
make_pair() {
  [ ! -e "$1.pem" ] || return 0
  new_key "$1.key"
  chmod g+r "$1.key"
  openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
  printf '%s\n' "$2" >"$1.extensions"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 \
    -extfile "$1.extensions" -out "$1.new"
  rm "$1.csr" "$1.extensions"
  mv "$1.new" "$1.pem"
}

if [ ! -e ca.pem ]; then
  new_key ca.key
  openssl req -x509 -key ca.key -days 3650 -subj "/CN=orders_dask trial CA" -out ca.new
  mv ca.new ca.pem
fi
make_pair dask "extendedKeyUsage=serverAuth,clientAuth"
# It may not be a client of the scheduler.
make_pair postgres "extendedKeyUsage=serverAuth
subjectAltName=$(printf ',DNS:%s' "$@" | cut -c2-)"
