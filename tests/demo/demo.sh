# The golden demo: typed by a script, but as a person would.
# Here are a directory rootfs with busybox, minict on the PATH, and a registry
# at 127.0.0.1:5000 with an image alpine:3.20.
set -u

# + prints a command as typed, runs it, and prints its exit code if it failed.
+() {
	printf '$ %s\n' "$1"
	eval "$1" </dev/null
	local code=$?
	[ $code = 0 ] || printf '(exit code %d)\n' $code
}

note() {
	printf '\n# %s\n' "$1"
}

note 'A container is a process with namespaces of its own: it is PID 1 there.'
+ 'minict run --rm --rootfs ./rootfs -- /bin/echo hello'
+ 'minict run --rm --rootfs ./rootfs -- ps -o pid,comm'
+ 'minict run --rm --rootfs ./rootfs --hostname box -- hostname'
+ 'minict run --rm --network none --rootfs ./rootfs -- ls /sys/class/net'

note 'The exit code is the command'"'"'s; what could not be run has a code of its own.'
+ 'minict run --rm --rootfs ./rootfs -- sh -c "exit 42"'
+ 'minict run --rm --rootfs ./rootfs -- /bin/missing'
+ 'minict run --rm --rootfs ./rootfs -- /bin/notexecutable'
+ 'minict run --rm --rootfs ./nowhere -- true'

note 'Nothing of the host is in sight.'
+ 'echo secret > /mnt/host-file'
+ 'minict run --rm --rootfs ./rootfs -- cat /mnt/host-file'
+ 'minict run --rm --rootfs ./rootfs -- cat /proc/1/root/../mnt/host-file'
+ 'minict run --rm --rootfs ./rootfs -- mount -t tmpfs none /tmp'
+ 'minict run --rm --rootfs ./rootfs -- sh -c "echo 1 > /proc/sys/kernel/panic"'

note 'Limits: a process that takes more memory than it may is killed.'
+ 'minict run --name greedy --memory 24M --rootfs ./rootfs -- dd if=/dev/zero of=/dev/null bs=64M count=1'
+ 'minict inspect --format "{{.State.Status}}, OOM killed: {{.State.OOMKilled}}" greedy'
+ 'minict rm greedy'

note 'The same from a file.'
printf 'rootfs: ./rootfs\ncgroups:\n  memory: 128M\n  cpu_shares: 256\n' > minict.yaml
+ 'cat minict.yaml'
+ 'minict run --rm --config minict.yaml -- id'

note 'Images: pull one, run it, list it, remove it.'
+ 'minict pull --quiet 127.0.0.1:5000/alpine:3.20'
+ 'minict images --format "{{.Repository}}:{{.Tag}}"'
+ 'minict run --rm 127.0.0.1:5000/alpine:3.20 -- cat /etc/release'
+ 'minict run -d --name web 127.0.0.1:5000/alpine:3.20 -- sh -c "echo ready; exec sleep 1000" > id'
+ 'minict ps --format "{{.Names}}: {{.State}}, {{.Image}}, {{.Command}}" --no-trunc'
+ 'minict exec web -- ps -o pid,args'
+ 'minict logs web'
+ 'minict stop --time 0 web'
+ 'minict ps -a --format "{{.Names}}: {{.State}}"'
+ 'minict rm web'
+ 'minict rmi 127.0.0.1:5000/alpine:3.20 | cut -d: -f1 | sort -u'

note 'Nothing is left: no container, no mount, no cgroup, no process.'
+ 'minict ps -aq | wc -l'
+ 'grep minict /proc/self/mountinfo | wc -l'
+ 'find /sys/fs/cgroup -name "$(cat id)" | wc -l'
+ 'grep -l minict /proc/[0-9]*/comm | wc -l'
