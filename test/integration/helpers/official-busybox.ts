// Stand-ins for Docker Hub's busybox and alpine: busybox-static with the users the real ones have.
import { busybox, type TarEntry } from './base-images.js';

const passwd = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
`;
const group = `root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
wheel:x:10:root
mail:x:8:
www-data:x:33:
users:x:100:
nobody:x:65534:
`;

/** What Debian's busybox has not, as far as it is used. */
const ttysize = `#!/bin/sh
set -- $(stty size)
echo "$2 $1"
`;

/** As much of it as the suites use: `adduser -D NAME`. Debian's busybox has none. */
const adduser = `#!/bin/sh
for name; do :; done
id=$((1000 + $(wc -l </etc/passwd)))
echo "$name:x:$id:$id::/home/$name:/bin/sh" >>/etc/passwd
echo "$name:x:$id:" >>/etc/group
mkdir -p "/home/$name"
`;

/** The root file system, and what else is to be in it. */
export function officialBusybox(extra: readonly TarEntry[] = []): TarEntry[] {
	const own = busybox().filter(({ name }) => !['etc/passwd', 'etc/group'].includes(name) && !name.startsWith('home/'));
	return [...own, { name: 'etc/passwd', content: passwd }, { name: 'etc/group', content: group }, { name: 'usr/sbin', type: 'directory', mode: 0o755 }, { name: 'usr/sbin/adduser', content: adduser, mode: 0o755 }, { name: 'bin/ttysize', content: ttysize, mode: 0o755 }, { name: 'var/www', type: 'directory', mode: 0o755 }, ...extra];
}

/** The `config` of the image's config. */
export const officialConfig = { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: ['sh'] };
