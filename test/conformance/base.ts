// The base image of the cases: Debian's static busybox with its applets as hard links, and the few files of a
// busybox image. Its config is the one the expectations were recorded with.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { digestOf, pushBlob, pushManifest, tarOf, type TarEntry } from '../integration/helpers/base-images.js';
import { readLayers, type RootFs } from './root-fs.js';

const directory = (name: string, more: Partial<TarEntry> = {}): TarEntry => ({ name, type: 'directory', mode: 0o755, ...more });

/** Debian's static busybox is without these two applets. `addgroup [-g GID] GROUP`, `addgroup USER GROUP`: */
const addgroup = `#!/bin/sh -e
if [ "$1" = -g ]; then echo "$3:x:$2:" >>/etc/group; exit; fi
sed -i -e "/^$2:/s/\\([^:]\\)$/\\1,/" -e "/^$2:/s/$/$1/" /etc/group
`;
/** `adduser -D -u UID USER`, with a group of the same name and number. */
const adduser = `#!/bin/sh -e
[ "$1 $2" = "-D -u" ]
echo "$4:x:$3:$3:$4:/home/$4:/bin/sh" >>/etc/passwd
echo "$4:x:$3:" >>/etc/group
mkdir -m 755 "/home/$4"
chown "$3:$3" "/home/$4"
`;

function entries(): TarEntry[] {
	const applets = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n').filter((name) => !['addgroup', 'adduser'].includes(name)).sort();
	const [first = 'busybox', ...others] = applets;
	return [
		directory('bin'),
		{ name: `bin/${first}`, content: readFileSync('/bin/busybox'), mode: 0o755 },
		...others.map((name): TarEntry => ({ name: `bin/${name}`, type: 'link', linkname: `bin/${first}`, mode: 0o755 })),
		{ name: 'bin/addgroup', content: addgroup, mode: 0o755 },
		{ name: 'bin/adduser', content: adduser, mode: 0o755 },
		directory('dev'),
		directory('etc'),
		{ name: 'etc/group', content: ['root:x:0:', 'daemon:x:1:', 'bin:x:2:', 'sys:x:3:', 'adm:x:4:', 'tty:x:5:', 'disk:x:6:', 'lp:x:7:', 'mail:x:8:', 'kmem:x:9:', 'wheel:x:10:root', 'cdrom:x:11:', 'dialout:x:18:', 'floppy:x:19:', 'video:x:28:', 'audio:x:29:', 'tape:x:32:', 'www-data:x:33:', 'operator:x:37:', 'utmp:x:43:', 'users:x:100:', 'nobody:x:65534:', ''].join('\n') },
		{ name: 'etc/nsswitch.conf', content: 'passwd: files\ngroup: files\nhosts: files dns\n' },
		{ name: 'etc/os-release', content: 'NAME="BusyBox"\nID=busybox\nVERSION_ID=1\n' },
		{ name: 'etc/passwd', content: ['root:x:0:0:root:/root:/bin/sh', 'daemon:x:1:1:daemon:/usr/sbin:/bin/false', 'bin:x:2:2:bin:/bin:/bin/false', 'sys:x:3:3:sys:/dev:/bin/false', 'sync:x:4:100:sync:/bin:/bin/sync', 'mail:x:8:8:mail:/var/spool/mail:/bin/false', 'www-data:x:33:33:www-data:/var/www:/bin/false', 'operator:x:37:37:Operator:/var:/bin/false', 'nobody:x:65534:65534:nobody:/home:/bin/false', ''].join('\n') },
		{ name: 'etc/shadow', content: 'root:*:10933:0:99999:7:::\n', mode: 0o640 },
		directory('home', { uid: 65534, gid: 65534 }),
		directory('root', { mode: 0o700 }),
		directory('tmp', { mode: 0o1777 }),
		directory('usr'),
		directory('usr/bin'),
		{ name: 'usr/bin/env', type: 'symlink', linkname: '../../bin/env' },
		directory('usr/sbin'),
		directory('var'),
		directory('var/spool'),
		directory('var/spool/mail', { uid: 8, gid: 8 }),
		directory('var/www', { uid: 33, gid: 33 }),
	];
}

/** Pushes it as `busybox:latest`; returns its files. */
export async function pushConformanceBase(host: string): Promise<RootFs> {
	const tar = await tarOf(entries());
	const config = JSON.parse(readFileSync(path.resolve(import.meta.dirname, '../../../testdata/conformance/bases/busybox.json'), 'utf8')) as { rootfs: object };
	const document = Buffer.from(JSON.stringify({ ...config, rootfs: { type: 'layers', diff_ids: [digestOf(tar)] } }));
	await pushManifest(host, 'busybox', {
		schemaVersion: 2,
		mediaType: 'application/vnd.oci.image.manifest.v1+json',
		config: await pushBlob(host, 'busybox', 'application/vnd.oci.image.config.v1+json', document),
		layers: [await pushBlob(host, 'busybox', 'application/vnd.oci.image.layer.v1.tar', tar)],
	});
	return readLayers([tar]);
}
