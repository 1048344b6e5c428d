// A builder that gets killed while it attaches and detaches, over and over. Started by crash.test.ts with the
// place as JSON.
import { startDeviceServer } from '../../src/device/index.js';
import type { Place } from '../integration/helpers/device.js';

const server = await startDeviceServer(JSON.parse(process.argv[2] ?? '') as Place);
const keepGoing = async (): Promise<never> => {
	for (;;) await (await server.attach({ lowers: [], writable: true, virtualSize: 2 ** 26 })).detach();
};
const both = [keepGoing(), keepGoing()];
process.stdout.write('ready\n');
await Promise.all(both);
