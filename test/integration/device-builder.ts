// A builder that gets killed: attaches a device, mounts it, keeps writing, and says so. Started by
// device-crash.test.ts with the place as JSON.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { buildMountOptions, makeFileSystem, startDeviceServer } from '../../src/device/index.js';
import { mount, syncfs } from '../../src/native/system.js';
import { gibibyte, type Place } from './helpers/device.js';

const place = JSON.parse(process.argv[2] ?? '') as Place;
const server = await startDeviceServer(place);
for (let n = 0; n < 2; n++) {
	const device = await server.attach({ lowers: [], writable: true, virtualSize: gibibyte });
	await makeFileSystem(device.path);
	const mountPoint = n === 0 ? place.mountPoint : path.join(place.instanceDir, 'mnt');
	await mount(device.path, mountPoint, 'ext4', buildMountOptions(true));
	writeFileSync(path.join(mountPoint, 'file'), Buffer.alloc(1_000_000, 'x'));
	await syncfs(mountPoint);
	await device.seal();
}
process.stdout.write('ready\n');
for (let n = 0; ; n++) {
	writeFileSync(path.join(place.mountPoint, `more${n % 50}`), Buffer.alloc(100_000, 'y'));
	await new Promise((resolve) => setTimeout(resolve, 1));
}
