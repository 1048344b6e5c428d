import test from 'ava';
import {
	defaultPlatform, formatPlatform, formatPlatformAll, matchesPlatform, normalizePlatform, parsePlatform, sortByPlatform, type Platform,
} from '../../src/image/index.js';

const machine = defaultPlatform();

const parsed: readonly (readonly [text: string, platform: Platform])[] = [
	['linux/amd64', { os: 'linux', architecture: 'amd64' }],
	['linux/x86_64', { os: 'linux', architecture: 'amd64' }],
	['linux/amd64/v1', { os: 'linux', architecture: 'amd64' }],
	['linux/amd64/v3', { os: 'linux', architecture: 'amd64', variant: 'v3' }],
	['linux/aarch64', { os: 'linux', architecture: 'arm64' }],
	['linux/arm64/v8', { os: 'linux', architecture: 'arm64', variant: 'v8' }],
	['linux/arm64/8', { os: 'linux', architecture: 'arm64', variant: 'v8' }],
	['linux/arm64/v9.0', { os: 'linux', architecture: 'arm64', variant: 'v9' }],
	['linux/arm', { os: 'linux', architecture: 'arm' }],
	['linux/arm/7', { os: 'linux', architecture: 'arm', variant: 'v7' }],
	['linux/arm/v6', { os: 'linux', architecture: 'arm', variant: 'v6' }],
	['linux/armel', { os: 'linux', architecture: 'arm', variant: 'v6' }],
	['linux/armhf', { os: 'linux', architecture: 'arm' }],
	['LINUX/AMD64', { os: 'linux', architecture: 'amd64' }],
	['macos/arm64', { os: 'darwin', architecture: 'arm64' }],
	['arm64', { os: 'linux', architecture: 'arm64' }],
	['i386', { os: 'linux', architecture: '386' }],
	['linux', { os: 'linux', architecture: machine.architecture }],
	['windows(10.0.17763)/amd64', { os: 'windows', osVersion: '10.0.17763', architecture: 'amd64' }],
	['windows(10.0.17763+win32k)/amd64', { os: 'windows', osVersion: '10.0.17763', osFeatures: ['win32k'], architecture: 'amd64' }],
	['any/thing', { os: 'any', architecture: 'thing' }],
];

for (const [text, platform] of parsed) {
	test(`${text} is read as ${formatPlatformAll(platform)}`, (t) => t.deepEqual(parsePlatform(text), platform));
}

for (const text of ['', 'linux/*', 'nonsense', 'linux/amd64/v1/x', 'linux/am d64', 'li nux/amd64', 'linux(%zz)/amd64', 'linux/']) {
	test(`${JSON.stringify(text)} is no platform, and the error names it`, (t) => {
		const { message } = t.throws(() => parsePlatform(text));
		t.true(message.includes(JSON.stringify(text)), message);
	});
}

test('formatting leaves out what is empty', (t) => {
	t.is(formatPlatform({ os: 'linux', architecture: 'arm', variant: 'v7' }), 'linux/arm/v7');
	t.is(formatPlatform({ os: '', architecture: 'arm' }), 'unknown');
	t.is(formatPlatformAll({ os: 'windows', architecture: 'amd64', osVersion: '10(+)', osFeatures: ['b', 'a', 'b'] }), 'windows(10%28%2B%29+a+b)/amd64');
});

test('normalizing makes equal what means the same', (t) => {
	t.deepEqual(normalizePlatform({ os: 'Linux', architecture: 'arm64', variant: 'v8' }), { os: 'linux', architecture: 'arm64' });
	t.deepEqual(normalizePlatform({ os: 'linux', architecture: 'arm' }), { os: 'linux', architecture: 'arm', variant: 'v7' });
});

const accepts: readonly (readonly [wanted: string, offered: string, yes: boolean])[] = [
	['linux/amd64', 'linux/amd64', true],
	['linux/amd64', 'linux/386', true],
	['linux/amd64', 'linux/amd64/v2', false],
	['linux/amd64/v3', 'linux/amd64/v2', true],
	['linux/amd64/v3', 'linux/amd64', true],
	['linux/amd64', 'linux/arm64', false],
	['linux/386', 'linux/amd64', false],
	['linux/arm/v7', 'linux/arm/v6', true],
	['linux/arm/v7', 'linux/arm/v5', true],
	['linux/arm/v6', 'linux/arm/v7', false],
	['linux/arm64', 'linux/arm64/v8', true],
	['linux/arm64', 'linux/arm/v7', true],
	['linux/arm64', 'linux/arm64/v8.1', false],
	['linux/arm64/v8.2', 'linux/arm64/v8.1', true],
	['linux/arm64/v9.1', 'linux/arm64/v8.6', true],
	['linux/arm64/v9.1', 'linux/arm64/v8.7', false],
	['linux/arm64/v9', 'linux/arm64', true],
	['linux/s390x', 'linux/s390x', true],
	['linux/amd64', 'windows/amd64', false],
	['windows(10.0.17763.1)/amd64', 'windows(10.0.17763.9)/amd64', true],
	['windows(10.0.17763.1)/amd64', 'windows(10.0.20348.9)/amd64', false],
];

for (const [wanted, offered, yes] of accepts) {
	test(`${wanted} ${yes ? 'takes' : 'does not take'} ${offered}`, (t) => {
		t.is(matchesPlatform(parsePlatform(wanted), parsePlatform(offered)), yes);
	});
}

test('the best platform comes first, others in their order, unsuitable ones not at all', (t) => {
	const offered = ['linux/386', 'linux/s390x', 'linux/amd64', 'linux/amd64/v2', 'windows/amd64'];
	t.deepEqual(sortByPlatform(parsePlatform('linux/amd64/v2'), offered, parsePlatform), ['linux/amd64/v2', 'linux/amd64', 'linux/386']);
	t.deepEqual(sortByPlatform(parsePlatform('linux/riscv64'), offered, parsePlatform), []);
});

test('attestation entries (unknown/unknown) suit nobody', (t) => {
	t.false(matchesPlatform(machine, { os: 'unknown', architecture: 'unknown' }));
});

test('an absurd variant costs nothing', (t) => {
	t.true(sortByPlatform({ os: 'linux', architecture: 'amd64', variant: 'v999999999' }, ['linux/amd64'], parsePlatform).length <= 1);
});
