#!/usr/bin/env bash
# Becomes the first process of a system: this machine's own files, of which it changes a copy in
# memory. It runs within `unshare --mount --pid --uts --ipc --cgroup --fork`.
# Arguments: an empty folder, the virtual environment, Python's own folder, the repository.
set -euo pipefail
memory=$1 environment=$2 python=$3 repository=$4

mount --make-rprivate /
mount -t tmpfs memory "$memory"
mkdir "$memory"/{changes,work,root,venv-changes,venv-work}
root=$memory/root
mount -t overlay system -o "lowerdir=/,upperdir=$memory/changes,workdir=$memory/work" "$root"

# The program where the service has it, and its Python outside of /root, which is closed to users.
mkdir -p "$root"/opt/{orders-dask,orders-dask-python,orders-dask-source}
mount --bind "$python" "$root/opt/orders-dask-python"
mount --bind "$repository" "$root/opt/orders-dask-source"
mount -t overlay program "$root/opt/orders-dask" \
  -o "lowerdir=$environment,upperdir=$memory/venv-changes,workdir=$memory/venv-work"
cd "$root/opt/orders-dask"
version=$(basename "$(echo lib/python3*)")
ln -sf "/opt/orders-dask-python/bin/$version" bin/python
sed -i 's|^home = .*|home = /opt/orders-dask-python/bin|' pyvenv.cfg
sed -i '1s|.*|#!/opt/orders-dask/bin/python|' bin/orders-dask
echo /opt/orders-dask-source > "lib/$version/site-packages/a_source.pth"
# Where its own folder of libraries can't be read, another Python's libpython would be found.
mkdir -p "$root/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultEnvironment=LD_LIBRARY_PATH=/opt/orders-dask-python/lib\n' \
  > "$root/etc/systemd/system.conf.d/python.conf"

mount -t proc proc "$root/proc"
mount --bind -o ro "$root/proc/sys" "$root/proc/sys"
mount -t sysfs -o ro sys "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 devices "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s pts/ptmx "$root/dev/ptmx"
mkdir "$root"/dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=0666 terminals "$root/dev/pts"
mount -t tmpfs -o mode=1777 shared "$root/dev/shm"
mount -t tmpfs run "$root/run"
mount -t tmpfs tmp "$root/tmp"
# None of this machine's own services.
mount -t tmpfs units "$root/etc/systemd/system"

cd "$root"
mkdir -p .before
pivot_root . .before
umount --lazy /.before
# As systemd expects in a container: what it mounts for a service, secrets say, is seen there.
mount --make-rshared /
exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=no
