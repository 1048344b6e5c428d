// The SCSI disk of the tcmu server, command by command, as sg3-utils send them.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import anyTest, { type TestFn } from 'ava';
import { startDeviceServer, type Device, type DeviceServer } from '../../src/device/index.js';
import { makePlace, removePlace, type Place } from '../integration/helpers/device.js';
import { allLeftovers } from './helpers/kernel.js';

const run = promisify(execFile);
const block = 512;
const blocks = 0x18000; // 48 MiB

interface Context {
	place: Place;
	server: DeviceServer;
	disk: Device;
	/** The same, read-only. */
	sealed: Device;
}
const test = anyTest as TestFn<Context>;

test.before(async (t) => {
	const place = await makePlace('tcmu');
	const server = await startDeviceServer(place);
	const disk = await server.attach({ lowers: [], writable: true, virtualSize: blocks * block });
	const frozen = await disk.seal();
	const sealed = await server.attach({ lowers: [{ kind: 'frozen', id: frozen?.id ?? '' }], writable: false });
	t.context = { place, server, disk, sealed };
});

test.after.always(async (t) => {
	const { place, server, disk, sealed } = t.context;
	await sealed.detach();
	await disk.detach();
	await server.close();
	t.deepEqual(await allLeftovers(place), []);
	await removePlace(place);
});

interface Reply {
	/** Sense key and additional sense in words; empty after success. */
	readonly sense: string;
	readonly data: Buffer;
}

/** Sends a command block, with data or asking for `receive` bytes. */
async function send(device: Device, cdb: string, transfer: { readonly data?: Buffer; readonly receive?: number } = {}): Promise<Reply> {
	const directory = await mkdtemp(path.join(tmpdir(), 'scsi-'));
	try {
		const args = ['--binary', '--readonly']; // root may send any command all the same
		if (transfer.receive !== undefined) args.push(`--request=${transfer.receive}`);
		if (transfer.data) {
			const file = path.join(directory, 'data');
			await writeFile(file, transfer.data);
			args.push(`--send=${transfer.data.length}`, `--infile=${file}`);
		}
		const { stdout } = await run('sg_raw', [...args, device.path, ...cdb.split(' ')], { encoding: 'buffer' });
		return { sense: '', data: stdout };
	} catch (error) {
		const { stderr, stdout } = error as { stderr: Buffer; stdout: Buffer };
		const [, key] = /Sense key: (.*)/.exec(stderr.toString()) ?? [];
		const [, additional] = /Additional sense: (.*)/.exec(stderr.toString()) ?? [];
		if (key === undefined) throw new Error(`sg_raw ${cdb}: ${stderr.toString()}`, { cause: error });
		return { sense: `${key.trim()}: ${(additional ?? '').trim()}`, data: stdout };
	} finally {
		await rm(directory, { recursive: true });
	}
}

const hex = (value: number, bytes: number): string => value.toString(16).padStart(bytes * 2, '0').match(/../g)?.join(' ') ?? '';
const read10 = (lba: number, count: number): string => `28 00 ${hex(lba, 4)} 00 ${hex(count, 2)} 00`;
const write10 = (lba: number, count: number): string => `2a 00 ${hex(lba, 4)} 00 ${hex(count, 2)} 00`;
const write16 = (lba: number, count: number): string => `8a 00 ${hex(lba, 8)} ${hex(count, 4)} 00 00`;

const badOpcode = 'Illegal Request: Invalid command operation code';
const badField = 'Illegal Request: Invalid field in cdb';
const badParameter = 'Illegal Request: Invalid field in parameter list';
const badLength = 'Illegal Request: Parameter list length error';
const outOfRange = 'Illegal Request: Logical block address out of range';
const notSaved = 'Illegal Request: Saving parameters not supported';
const protectedDisk = 'Data Protect: Write protected';

test('commands without data', async (t) => {
	const { disk } = t.context;
	const cases: readonly [what: string, cdb: string, sense: string][] = [
		['TEST UNIT READY', '00 00 00 00 00 00', ''],
		['START STOP UNIT', '1b 00 00 00 01 00', ''],
		['SYNCHRONIZE CACHE 10', '35 00 00 00 00 00 00 00 00 00', ''],
		['SYNCHRONIZE CACHE 10 of the last block', `35 00 ${hex(blocks - 1, 4)} 00 00 01 00`, ''],
		['SYNCHRONIZE CACHE 10 over the end', `35 00 ${hex(blocks - 1, 4)} 00 00 02 00`, outOfRange],
		['SYNCHRONIZE CACHE 16 far outside', '91 00 ff ff ff ff ff ff ff ff 00 00 00 01 00 00', outOfRange],
		['READ 10 of nothing', read10(0, 0), ''],
		['READ 10 of nothing at the end', read10(blocks, 0), ''],
		['READ 10 of nothing behind the end', read10(blocks + 1, 0), outOfRange],
		['WRITE 10 of nothing', write10(0, 0), ''],
		['WRITE 16 of nothing far outside', write16(2 ** 40, 0), outOfRange],
		['UNMAP without a list', '42 00 00 00 00 00 00 00 00 00', ''],
		['WRITE SAME 16 without data, UNMAP', `93 09 ${hex(0, 8)} ${hex(64, 4)} 00 00`, ''],
		['WRITE SAME 16 of zero blocks', `93 09 ${hex(0, 8)} ${hex(0, 4)} 00 00`, badField],
		['WRITE SAME 16 over the end', `93 09 ${hex(blocks - 1, 8)} ${hex(2, 4)} 00 00`, outOfRange],
		['WRITE SAME 16 with ANCHOR', `93 19 ${hex(0, 8)} ${hex(1, 4)} 00 00`, badField],
		['FORMAT UNIT', '04 00 00 00 00 00', badOpcode],
		['VERIFY 10', '2f 00 00 00 00 00 00 00 01 00', badOpcode],
		['a vendor\'s command', 'c0 00 00 00 00 00 00 00 00 00', badOpcode],
		['no command at all', 'ff 00 00 00 00 00', badOpcode],
	];
	for (const [what, cdb, sense] of cases) t.is((await send(disk, cdb)).sense, sense, what);
});

test('what the disk says of itself', async (t) => {
	const { disk, sealed } = t.context;
	const inquiry = (page: string, length = 252): string => `12 ${page === '' ? '00 00' : `01 ${page}`} ${hex(length, 2)} 00`;
	const ask = async (cdb: string, receive = 252, device = disk): Promise<Buffer> => {
		const { sense, data } = await send(device, cdb, { receive });
		t.is(sense, '', cdb);
		return data;
	};

	const standard = await ask(inquiry(''));
	t.is(standard.length, 36);
	t.is(standard.toString('latin1', 8, 32), 'OBD     overlaybd disk  ');
	t.is((await ask(inquiry('', 5), 5)).length, 5, 'no more than what was asked for');
	t.deepEqual([...(await ask(inquiry('00'))).subarray(4)], [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
	const serial = (await ask(inquiry('80'))).toString('latin1', 4);
	t.regex(serial, /^[0-9a-f]{16}$/);
	t.not(serial, (await ask(inquiry('80'), 252, sealed)).toString('latin1', 4), 'each disk has its own');
	t.true((await ask(inquiry('83'))).includes(serial));
	t.is((await ask(inquiry('b0'))).readUInt32BE(20), 0x7fffff, 'blocks of an UNMAP');
	t.is((await ask(inquiry('b1')))[5], 1, 'it does not rotate');
	t.is((await ask(inquiry('b2')))[5], 0xe4, 'UNMAP and WRITE SAME unmap, and what is unmapped reads as zeros');
	for (const page of ['c0', '01', 'ff']) t.is((await send(disk, inquiry(page), { receive: 252 })).sense, badField, `page ${page}`);
	t.is((await send(disk, '12 00 80 00 fc 00', { receive: 252 })).sense, badField, 'a page without EVPD');

	const capacity10 = await ask('25 00 00 00 00 00 00 00 00 00', 8);
	t.deepEqual([capacity10.readUInt32BE(0), capacity10.readUInt32BE(4)], [blocks - 1, block]);
	t.is((await send(disk, '25 00 00 00 00 01 00 00 00 00', { receive: 8 })).sense, badField);
	const capacity16 = await ask('9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00', 32);
	t.deepEqual([capacity16.readBigUInt64BE(0), capacity16.readUInt32BE(8), capacity16[14]], [BigInt(blocks - 1), block, 0xc0]);
	t.is((await send(disk, '9e 12 00 00 00 00 00 00 00 00 00 00 00 20 00 00', { receive: 32 })).sense, badField, 'another service action');

	const caching = await ask('1a 00 08 00 fc 00');
	t.deepEqual([caching[2], caching[4], caching[6]], [0x10, 0x08, 0x04], 'FUA; the caching page; a write cache');
	t.is((await ask('1a 00 48 00 fc 00'))[6], 0, 'nothing of it can be changed');
	t.is((await ask('5a 00 3f 00 00 00 00 00 fc 00')).length, 8 + 20 + 12, 'all pages');
	t.is((await ask('1a 00 3f 00 fc 00', 252, sealed))[2], 0x90, 'write protected');
	t.is((await send(disk, '1a 00 c8 00 fc 00', { receive: 252 })).sense, notSaved);
	t.is((await send(disk, '1a 00 01 00 fc 00', { receive: 252 })).sense, badField, 'no such page');
	t.is((await ask('03 00 00 00 12 00', 18))[2], 0, 'REQUEST SENSE: nothing to report');

	// As the tools a person would use understand it.
	t.regex((await run('sg_readcap', ['--long', disk.path])).stdout, /lbpme=1, lbprz=1/);
	t.regex((await run('sg_vpd', ['--page=lbpv', disk.path])).stdout, /Unmap command supported \(LBPU\): 1/);
	t.regex((await run('sg_modes', ['--page=8', disk.path])).stdout, /Caching/);
});

test('reads and writes of any length and alignment', async (t) => {
	const { disk } = t.context;
	const content = Buffer.alloc(3 * block, 'not aligned to anything; ');
	const received = async (cdb: string, count: number): Promise<Buffer> => (await send(disk, cdb, { receive: count * block })).data;

	t.is((await send(disk, write10(3, 3), { data: content })).sense, '');
	t.deepEqual(await received(read10(3, 3), 3), content);
	t.deepEqual(await received(`08 00 00 04 01 00`, 1), content.subarray(block, 2 * block), 'READ 6');
	t.is((await received('08 00 00 00 00 00', 256)).length, 256 * block, 'READ 6: no length means 256 blocks');
	t.is((await send(disk, `0a ${hex(blocks - 1, 3)} 01 00`, { data: content.subarray(0, block) })).sense, '', 'WRITE 6 of the last block');
	t.deepEqual(await received(`a8 00 ${hex(blocks - 1, 4)} 00 00 00 01 00 00`, 1), content.subarray(0, block), 'READ 12');
	t.is((await send(disk, write16(7, 1), { data: content.subarray(0, block) })).sense, '');
	t.deepEqual(await received(`88 00 ${hex(7, 8)} ${hex(1, 4)} 00 00`, 1), content.subarray(0, block), 'READ 16');

	const refused: readonly [what: string, cdb: string, transfer: { receive?: number; data?: Buffer }, sense: string][] = [
		['a read over the end', read10(blocks - 1, 2), { receive: 2 * block }, outOfRange],
		['a read behind the end', read10(blocks, 1), { receive: block }, outOfRange],
		['a read at the greatest address', 'a8 00 ff ff ff ff ff ff ff ff 00 00', { receive: block }, outOfRange],
		['a read whose end overflows', `88 00 ff ff ff ff ff ff ff ff ${hex(2, 4)} 00 00`, { receive: block }, outOfRange],
		['a write over the end', write10(blocks - 1, 2), { data: content.subarray(0, 2 * block) }, outOfRange],
		['a write far outside', write16(2 ** 45, 1), { data: content.subarray(0, block) }, outOfRange],
		['a read longer than the limit', `a8 00 ${hex(0, 4)} ${hex(4096, 4)} 00 00`, { receive: block }, badField],
		['a read of more than there is room for', read10(0, 8), { receive: block }, badField],
		['a write of more than was sent', write10(0, 8), { data: content.subarray(0, block) }, badField],
		['a read with protection information', `28 20 ${hex(0, 4)} 00 00 01 00`, { receive: block }, badField],
	];
	for (const [what, cdb, transfer, sense] of refused) t.is((await send(disk, cdb, transfer)).sense, sense, what);
	t.deepEqual(await received(read10(3, 3), 3), content, 'nothing of it has changed the disk');
});

test('UNMAP and WRITE SAME', async (t) => {
	const { disk } = t.context;
	const full = Buffer.alloc(64 * block, 'x');
	const range = (lba: number, count: number): Buffer => {
		const descriptor = Buffer.alloc(16);
		descriptor.writeBigUInt64BE(BigInt(lba));
		descriptor.writeUInt32BE(count, 8);
		return descriptor;
	};
	const unmap = (...ranges: readonly Buffer[]): Promise<Reply> => {
		const data = Buffer.concat([Buffer.alloc(8), ...ranges]);
		data.writeUInt16BE(data.length - 2);
		data.writeUInt16BE(16 * ranges.length, 2);
		return send(disk, `42 00 00 00 00 00 00 ${hex(data.length, 2)} 00`, { data });
	};
	/** Of each of the 64 blocks: the byte it is full of. */
	const seen = async (): Promise<string> => {
		const { data } = await send(disk, read10(1000, 64), { receive: 64 * block });
		return Array.from({ length: 64 }, (_, n) => {
			const one = data.subarray(n * block, (n + 1) * block);
			return one.every((byte) => byte === one[0]) ? String.fromCharCode(one[0] ?? 0) : '?';
		}).join('').replaceAll('\0', '.');
	};
	t.is((await send(disk, write10(1000, 64), { data: full })).sense, '');
	t.is((await unmap(range(1001, 2), range(1010, 1))).sense, '');
	t.is((await unmap(range(1020, 0))).sense, '', 'a range of nothing');
	t.is(await seen(), `x..${'x'.repeat(7)}.${'x'.repeat(53)}`);

	t.is((await unmap(range(1000, 1), range(blocks - 1, 2))).sense, outOfRange);
	t.is((await unmap(range(0, 0x800000))).sense, outOfRange);
	t.is((await send(disk, '42 01 00 00 00 00 00 00 18 00', { data: Buffer.alloc(24) })).sense, badField, 'ANCHOR');
	t.is((await send(disk, '42 00 00 00 00 00 00 00 04 00', { data: Buffer.alloc(4) })).sense, badLength, 'half a header');
	t.is((await send(disk, '42 00 00 00 00 00 00 00 08 00', { data: Buffer.from([0, 22, 0, 16, 0, 0, 0, 0]) })).sense, badLength, 'a descriptor that was not sent');
	const many = Buffer.concat([Buffer.from([0x10, 0x16, 0x10, 0x10, 0, 0, 0, 0]), Buffer.alloc(16 * 257)]);
	t.is((await send(disk, `42 00 00 00 00 00 00 ${hex(many.length, 2)} 00`, { data: many })).sense, badParameter, 'more ranges than the limit');
	t.is(await seen(), `x..${'x'.repeat(7)}.${'x'.repeat(53)}`, 'a list with an error in it does nothing');

	const writeSame = (flags: number, lba: number, count: number, byte: string): Promise<Reply> =>
		send(disk, `41 ${hex(flags, 1)} ${hex(lba, 4)} 00 ${hex(count, 2)} 00`, { data: Buffer.alloc(block, byte) });
	t.is((await writeSame(0, 1000, 8, 'a')).sense, '');
	t.is((await writeSame(8, 1008, 8, '\0')).sense, '', 'UNMAP with zeros');
	t.is((await writeSame(8, 1016, 8, 'b')).sense, '', 'UNMAP with other content is a write');
	t.is((await writeSame(1, 1024, 8, 'c')).sense, badField, 'WRITE SAME 10 always has data');
	t.is((await writeSame(0, blocks - 1, 2, 'c')).sense, outOfRange);
	t.is(await seen(), `${'a'.repeat(8)}${'.'.repeat(8)}${'b'.repeat(8)}${'x'.repeat(40)}`);
});

test('a read-only disk refuses whatever would change it', async (t) => {
	const { sealed } = t.context;
	const data = Buffer.alloc(block);
	t.is((await send(sealed, write10(0, 1), { data })).sense, protectedDisk);
	t.is((await send(sealed, `41 00 ${hex(0, 4)} 00 00 01 00`, { data })).sense, protectedDisk);
	t.is((await send(sealed, '42 00 00 00 00 00 00 00 18 00', { data: Buffer.alloc(24) })).sense, protectedDisk);
	t.is((await send(sealed, '35 00 00 00 00 00 00 00 00 00')).sense, '', 'there is nothing to flush');
	t.is((await send(sealed, read10(0, 1), { receive: block })).data.length, block);
});
