// Device servers that end while nothing is attached, and start anew. Needs root.
import anyTest, { type TestFn } from 'ava';
import { DeviceServerError, startDeviceServer, type DeviceServer } from '../../src/device/index.js';
import { gibibyte, leftovers, makePlace, removePlace, serverProcesses, until, withServer, type Place } from './helpers/device.js';

const test = anyTest as TestFn<Place>;

test.beforeEach(async (t) => {
	t.context = await makePlace();
});

test.afterEach.always(async (t) => {
	t.deepEqual(await leftovers(t.context), []);
	await removePlace(t.context);
});

const disk = { lowers: [], writable: true, virtualSize: gibibyte };

/** Attaches a disk and gives it back. */
async function use(server: DeviceServer): Promise<void> {
	const device = await server.attach(disk);
	await device.stats();
	await device.detach();
}

test('a server rests when nothing is attached or frozen, not before, and is there again when it is wanted', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		const first = await serverProcesses(place);
		const device = await server.attach(disk);
		await server.rest();
		t.deepEqual(await serverProcesses(place), first, 'a device is attached');
		const frozen = await device.seal();
		await device.detach();
		await server.rest();
		t.deepEqual(await serverProcesses(place), first, 'a layer is frozen');
		await frozen?.release();
		await server.rest();
		await server.rest();
		t.deepEqual(await leftovers(place), []);
		t.is(server.failure, undefined);
		await use(server);
		t.is((await serverProcesses(place)).length, 1);
		t.notDeepEqual(await serverProcesses(place), first);
	});
});

test('an attach that begins while a server goes to rest gets its device', async (t) => {
	const place = t.context;
	await withServer(place, async (server) => {
		for (let round = 0; round < 6; round++) {
			// Before the call that asks whether there is something to do, after it, and while the server ends.
			const resting = server.rest();
			for (let turn = 0; turn < round; turn++) await new Promise(setImmediate);
			await Promise.all([use(server), use(server), server.rest()]);
			await resting;
		}
		await server.rest();
		await Promise.all([use(server), server.rest(), use(server)]);
		t.is(server.failure, undefined);
	});
});

test('a server that is killed as it rests, or after, is no failure of what comes next', async (t) => {
	const place = t.context;
	const server = await startDeviceServer(place);
	const [pid] = await serverProcesses(place);
	const resting = server.rest();
	process.kill(Number(pid), 'SIGKILL');
	await resting.catch(() => undefined); // it may be asked whether it has something to do just then
	await until(async () => (await serverProcesses(place)).length === 0);
	await server.close();

	const next = await startDeviceServer(place);
	await next.rest();
	await use(next);
	const [other] = await serverProcesses(place);
	process.kill(Number(other), 'SIGKILL');
	await until(async () => next.failure !== undefined);
	await t.throwsAsync(use(next), { instanceOf: DeviceServerError, message: /SIGKILL/ });
	await next.close();
});

test('a server is closed while it rests', async (t) => {
	const place = t.context;
	const server = await startDeviceServer(place);
	await server.rest();
	await server.close();
	await t.throwsAsync(use(server), { instanceOf: DeviceServerError, message: /closed/ });

	const other = await startDeviceServer(place);
	void other.rest();
	await other.close();
	t.deepEqual(await serverProcesses(place), []);
});
