// buildkitd.toml: what is read of it, and what is wrong with it.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { bytesOf, defaultGcPolicies, parseConfig, readConfig } from '../../src/config/index.js';

const gib = 2 ** 30;

test('the example of BuildKit\'s documentation', (t) => {
	const config = parseConfig(`
root = "/var/lib/buildkit"
insecure-entitlements = [ "network.host", "security.insecure", "device" ]
proxyNetwork = true
[log]
  format = "json"
  level = "info"
[dns]
  nameservers=["1.1.1.1","8.8.8.8"]
  options=["edns0"]
  searchDomains=["example.com"]
[grpc]
  address = [ "tcp://0.0.0.0:1234" ]
  uid = 0
  gid = 5
  [grpc.tls]
    cert = "/etc/buildkit/tls.crt"
    key = "/etc/buildkit/tls.key"
    ca = "/etc/buildkit/tlsca.crt"
[history]
  maxAge = 172800
  maxEntries = 50
[worker.oci]
  enabled = true
  platforms = [ "linux/amd64", "linux/arm64" ]
  gc = true
  reservedSpace = "30%"
  maxUsedSpace = "60%"
  minFreeSpace = "20GB"
  binary = ""
  max-parallelism = 4
  device = "tcmu"
  [worker.oci.labels]
    "foo" = "bar"
  [[worker.oci.gcpolicy]]
    reservedSpace = "512MB"
    maxUsedSpace = "1GB"
    keepDuration = "48h"
    filters = [ "type==source.local", "type==exec.cachemount" ]
  [[worker.oci.gcpolicy]]
    all = true
    reservedSpace = 1024000000
[worker.containerd]
  enabled = false
[registry."docker.io"]
  mirrors = ["mirror.example.com:5000", "core.example.org/proxy"]
  http = true
  insecure = true
  ca=["/etc/config/myca.pem"]
  [[registry."docker.io".keypair]]
    key="/etc/config/key.pem"
    cert="/etc/config/cert.pem"
[frontend."gateway.v0"]
  enabled = false
  allowedRepositories = ["docker/dockerfile"]
`);
	t.is(config.root, '/var/lib/buildkit');
	t.deepEqual(config.entitlements, ['network.host', 'security.insecure', 'device']);
	t.deepEqual([config.logLevel, config.logFormat], ['info', 'json']);
	t.deepEqual(config.dns, { nameservers: ['1.1.1.1', '8.8.8.8'], options: ['edns0'], searchDomains: ['example.com'] });
	t.deepEqual(config.grpc, { addresses: ['tcp://0.0.0.0:1234'], uid: 0, gid: 5, tls: { cert: '/etc/buildkit/tls.crt', key: '/etc/buildkit/tls.key', ca: '/etc/buildkit/tlsca.crt' } });
	t.deepEqual(config.history, { maxAge: 172_800_000, maxEntries: 50 });
	t.deepEqual(config.worker.labels, { foo: 'bar' });
	t.is(config.worker.maxParallelism, 4);
	t.is(config.worker.device, 'tcmu');
	t.is(config.worker.binary, undefined);
	t.deepEqual(config.hosts, {
		'docker.io': {
			plainHttp: true, insecure: true, mirrors: ['mirror.example.com:5000', 'core.example.org/proxy'], ca: ['/etc/config/myca.pem'],
			keyPairs: [{ certificate: '/etc/config/cert.pem', key: '/etc/config/key.pem' }],
		},
	});
	t.deepEqual([config.dockerfileFrontend, config.gatewayFrontend, config.allowedFrontends], [true, false, ['docker/dockerfile']]);
	t.deepEqual(config.ignored, ['proxyNetwork', 'worker.containerd']);
	t.deepEqual(defaultGcPolicies(config.worker.gc, { total: 100 * gib }), [
		{ all: false, filters: ['type==source.local', 'type==exec.cachemount'], keepDuration: 172_800_000, reservedSpace: 512 * 2 ** 20, maxUsedSpace: gib, minFreeSpace: 0 },
		{ all: true, filters: [], keepDuration: 0, reservedSpace: 1_024_000_000, maxUsedSpace: 0, minFreeSpace: 0 },
	]);
});

test('an empty file means the defaults, among them buildkitd\'s rules of garbage collection', (t) => {
	const config = parseConfig('');
	t.deepEqual(config.hosts, {});
	t.is(config.dns, undefined);
	t.true(config.worker.gc.enabled);
	const policies = defaultGcPolicies(config.worker.gc, { total: 1000 * gib });
	t.deepEqual(policies.map(({ all, keepDuration, reservedSpace, maxUsedSpace, minFreeSpace }) => [all, keepDuration / 3_600_000, reservedSpace, maxUsedSpace, minFreeSpace]), [
		[false, 48, 0, 512e6, 0],
		[false, 1440, 10e9, 100e9, 201e9],
		[false, 0, 10e9, 100e9, 201e9],
		[true, 0, 10e9, 100e9, 201e9],
	]);
});

test('disk space and durations', (t) => {
	const space = (text: string): number => {
		const { worker } = parseConfig(`[[worker.oci.gcpolicy]]\nmaxUsedSpace = ${text}`);
		return worker.gc.policies?.({ total: 100 * gib })[0]?.maxUsedSpace ?? -1;
	};
	t.deepEqual(['512000000', '"1k"', '"1.5MB"', '"2GiB"', '"10%"', '"0%"'].map(space), [512e6, 1024, 1.5 * 2 ** 20, 2 * gib, 11e9, 0]);
	t.is(bytesOf({ percent: 100 }, 10 * gib), 11e9);
	const age = (text: string): number | undefined => parseConfig(`[history]\nmaxAge = ${text}`).history.maxAge;
	t.deepEqual(['60', '"60"', '"1h30m"', '"1.5s"', '"100ms"'].map(age), [60_000, 60_000, 5_400_000, 1500, 100]);
});

for (const [what, text, error] of [
	['a list where text belongs', 'root = [1]', /root must be a string, not \[1\]/],
	['a number in a list of strings', '[registry."docker.io"]\nmirrors = ["a", 1]', /registry\."docker\.io"\.mirrors must be a list of strings, not \["a",1\]/],
	['a space that is none', '[worker.oci]\nmaxUsedSpace = "lots"', /worker\.oci\.maxUsedSpace must be an amount of disk space .*, not "lots"/],
	['a device that is no text', '[worker.oci]\ndevice = true', /worker\.oci\.device must be a string, not true/],
	['a negative duration', '[history]\nmaxAge = -1', /history\.maxAge must be a duration .*, not -1/],
	['a rule that is no table', '[worker.oci]\ngcpolicy = [1]', /worker\.oci\.gcpolicy must be a list of tables/],
	['what is no TOML', 'root = \n', /line 1, column \d+: Invalid TOML document/],
] as const) {
	test(`an error for ${what}`, async (t) => {
		const directory = await mkdtemp(path.join(tmpdir(), 'obd-config-'));
		t.teardown(() => rm(directory, { recursive: true }));
		const file = path.join(directory, 'buildkitd.toml');
		await writeFile(file, text);
		const { message } = (await t.throwsAsync(readConfig(file))) ?? { message: '' };
		t.regex(message, error);
		t.true(message.startsWith(`failed to load config from ${file}: `), message);
	});
}

test('a file that is not there is no error, certificates of a directory are found', async (t) => {
	t.is(await readConfig('/no/such/buildkitd.toml'), undefined);
	const directory = await mkdtemp(path.join(tmpdir(), 'obd-config-'));
	t.teardown(() => rm(directory, { recursive: true }));
	for (const name of ['ca.crt', 'client.cert', 'client.key', 'README']) await writeFile(path.join(directory, name), '');
	const { hosts } = parseConfig(`[registry."r.example"]\ntlsconfigdir = ["${directory}", "/no/such/directory"]`);
	t.deepEqual(hosts['r.example'], { ca: [`${directory}/ca.crt`], keyPairs: [{ certificate: `${directory}/client.cert`, key: `${directory}/client.key` }] });
});
