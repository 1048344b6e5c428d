// A small root file system for tests that run real containers: busybox (Debian: busybox-static) with its applets.
import { execFile } from 'node:child_process';
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export async function makeBusyboxRootfs(dir: string): Promise<void> {
	for (const name of ['bin', 'etc', 'tmp', 'root', 'home/app']) await mkdir(path.join(dir, name), { recursive: true });
	await copyFile('/bin/busybox', path.join(dir, 'bin/busybox'));
	const { stdout } = await run('/bin/busybox', ['--list']);
	for (const applet of stdout.trim().split('\n')) {
		if (applet !== 'busybox') await symlink('busybox', path.join(dir, 'bin', applet));
	}
	await writeFile(path.join(dir, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n');
	await writeFile(path.join(dir, 'etc/group'), 'root:x:0:\napp:x:1001:\nwheel:x:10:app\n');
}
