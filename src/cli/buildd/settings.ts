// What the daemon is to do: its flags over its configuration file.
import { statfsSync, existsSync } from 'node:fs';
import path from 'node:path';
import { defaultGcPolicies, readConfig, readProvenanceEnv, type Config, type GcConfig } from '../../config/index.js';
import type { PrunePolicy } from '../../control/index.js';
import type { DeviceChoice } from '../../device/index.js';
import { defaultPlatform } from '../../image/index.js';
import { formatPlatform, parsePlatform } from '../../llb/index.js';
import type { HostConfigs } from '../../registry/index.js';
import type { DnsConfig } from '../../runtime/index.js';
import type { LazyReadOptions } from '../../builder/index.js';
import { UsageError, type ParsedFlags } from '../build/flag-set.js';
import { lazyReadOptions } from '../build/lazy.js';
import { defaultConfigFile } from '../config-file.js';
import { deviceChoice } from '../device-choice.js';
import { ignored, refused } from './flags.js';

export interface Settings {
	readonly root: string;
	readonly addresses: readonly string[];
	readonly tls: { readonly cert: string; readonly key: string; readonly ca: string | undefined } | undefined;
	/** Name or gid of the group that may use the unix sockets. */
	readonly group: string | undefined;
	readonly uid: number | undefined;
	readonly logLevel: string;
	readonly logFormat: string;
	readonly entitlements: readonly string[];
	/** Of image layers whose client asks for none. */
	readonly compression: string;
	readonly labels: Readonly<Record<string, string>>;
	readonly hosts: HostConfigs;
	readonly dns: DnsConfig | undefined;
	readonly parallelism: number | undefined;
	readonly lazy: LazyReadOptions;
	readonly device: DeviceChoice;
	readonly gcPolicies: readonly PrunePolicy[];
	readonly history: { readonly maxAge: number; readonly maxEntries: number };
	readonly provenanceEnv: Readonly<Record<string, unknown>>;
	/** What was asked for and makes no difference. */
	readonly notes: readonly string[];
}

const defaultHistory = { maxAge: 48 * 3_600_000, maxEntries: 50 };
const entitlements: ReadonlySet<string> = new Set(['network.host', 'security.insecure']);

/** Throws UsageError for what obd cannot do. */
export async function readSettings(flags: ParsedFlags): Promise<Settings> {
	const config = await configOf(flags);
	refuse(flags, config);
	const given = (name: string, other: string | undefined): string => (flags.has(name) ? flags.string(name) : other ?? flags.string(name));
	const root = path.resolve(given('root', config?.root));
	return {
		root,
		addresses: addressesOf(flags, config),
		tls: tlsOf(flags, config),
		group: given('group', config?.grpc.gid?.toString()) || undefined,
		uid: config?.grpc.uid,
		logLevel: flags.bool('trace') ? 'trace' : flags.bool('debug') ? 'debug' : given('log-level', config?.logLevel),
		logFormat: given('log-format', config?.logFormat),
		entitlements: flags.has('allow-insecure-entitlement') ? flags.list('allow-insecure-entitlement').flatMap((list) => list.split(',')) : config?.entitlements ?? [],
		compression: compressionOf(flags.string('compression')),
		labels: { ...config?.worker.labels, ...labelsOf(flags.list('oci-worker-labels')) },
		hosts: config?.hosts ?? {},
		dns: config?.dns,
		parallelism: Number(given('oci-max-parallelism', config?.worker.maxParallelism?.toString())) || undefined,
		lazy: lazyOf(flags),
		device: deviceChoice(flags.has('device') ? flags.string('device') : undefined, config?.worker.device),
		gcPolicies: gcPoliciesOf(flags, config, root),
		history: { maxAge: config?.history.maxAge ?? defaultHistory.maxAge, maxEntries: config?.history.maxEntries ?? defaultHistory.maxEntries },
		provenanceEnv: await readProvenanceEnv(config?.provenanceEnvDir),
		notes: [
			...ignored.filter((name) => flags.has(name)).map((name) => `--${name} makes no difference to obd`),
			...(config?.ignored ?? []).map((key) => `${key} in the configuration makes no difference to obd`),
		],
	};
}

async function configOf(flags: ParsedFlags): Promise<Config | undefined> {
	const file = flags.string('config');
	const config = await readConfig(file);
	if (!config && flags.has('config') && file !== defaultConfigFile) throw new UsageError(`failed to load config from ${file}: no such file or directory`);
	return config;
}

function refuse(flags: ParsedFlags, config: Config | undefined): void {
	for (const [name, reason] of Object.entries(refused)) {
		if (flags.has(name) && !['', 'false'].includes(flags.string(name))) throw new UsageError(`--${name} is not supported: ${reason}`);
	}
	const { worker } = config ?? {};
	if (flags.string('oci-worker') === 'false' || (worker?.enabled === false && !flags.has('oci-worker'))) throw new UsageError('no worker found, rebuild the buildkit daemon? (the oci worker is the only one obd has)');
	if (flags.string('containerd-worker') === 'true') throw new UsageError('--containerd-worker is not supported: obd needs no containerd');
	const network = flags.has('oci-worker-net') ? flags.string('oci-worker-net') : worker?.networkMode ?? 'auto';
	if (!['auto', 'host', ''].includes(network)) throw new UsageError(`network mode ${JSON.stringify(network)} is not supported: obd has auto and host`);
	if (worker?.binary !== undefined) throw new UsageError(`worker.oci.binary is not supported: ${refused['oci-worker-binary'] ?? ''}`);
	if (worker?.apparmorProfile !== undefined) throw new UsageError('worker.oci.apparmor-profile is not supported: obd sets no AppArmor profiles');
	const own = formatPlatform(defaultPlatform());
	const platforms = flags.has('oci-worker-platform') ? flags.list('oci-worker-platform').flatMap((list) => list.split(',')) : worker?.platforms ?? [];
	const foreign = platforms.find((platform) => formatPlatform(parsePlatform(platform)) !== own);
	if (foreign !== undefined) throw new UsageError(`platform ${foreign} is not supported: obd builds for this host's, ${own}`);
	const wanted = flags.has('allow-insecure-entitlement') ? flags.list('allow-insecure-entitlement').flatMap((list) => list.split(',')) : config?.entitlements ?? [];
	const unknown = wanted.find((name) => !entitlements.has(name));
	if (unknown !== undefined) throw new UsageError(`${unknown === 'device' ? 'device entitlements are not supported by obd' : `unknown entitlement ${unknown}`}`);
}

function lazyOf(flags: ParsedFlags): LazyReadOptions {
	try {
		return lazyReadOptions(flags);
	} catch (error) {
		throw new UsageError((error as Error).message);
	}
}

function compressionOf(name: string): string {
	if (!['overlaybd', 'gzip', 'zstd', 'uncompressed'].includes(name)) throw new UsageError(`unsupported compression type: ${name}: use overlaybd, gzip, zstd, uncompressed`);
	return name;
}

function addressesOf(flags: ParsedFlags, config: Config | undefined): readonly string[] {
	if (flags.has('addr')) return flags.list('addr').flatMap((list) => list.split(','));
	const configured = config?.grpc.addresses ?? [];
	return configured.length > 0 ? configured : [flags.string('addr')];
}

function tlsOf(flags: ParsedFlags, config: Config | undefined): Settings['tls'] {
	const of = (flag: string, other: string | undefined): string | undefined => (flags.string(flag) || other || undefined);
	const [cert, key, ca] = [of('tlscert', config?.grpc.tls.cert), of('tlskey', config?.grpc.tls.key), of('tlscacert', config?.grpc.tls.ca)];
	if (cert === undefined && key === undefined && ca === undefined) return undefined;
	if (cert === undefined || key === undefined) throw new UsageError('you must specify key and cert file if one is specified');
	for (const file of [cert, key, ca]) if (file !== undefined && !existsSync(file)) throw new UsageError(`could not load ${file}: no such file or directory`);
	return { cert, key, ca };
}

function labelsOf(labels: readonly string[]): Record<string, string> {
	return Object.fromEntries(labels.flatMap((list) => list.split(',')).map((label) => {
		const equals = label.indexOf('=');
		if (equals < 0) throw new UsageError(`malformed label ${label}`);
		return [label.slice(0, equals), label.slice(equals + 1)];
	}));
}

function gcPoliciesOf(flags: ParsedFlags, config: Config | undefined, root: string): readonly PrunePolicy[] {
	const configured: GcConfig = config?.worker.gc ?? { enabled: true };
	const enabled = flags.has('oci-worker-gc') ? flags.bool('oci-worker-gc') : configured.enabled;
	return enabled ? defaultGcPolicies({ ...configured, ...keepStorage(flags) }, { total: diskOf(root) }) : [];
}

/** `Reserved[,Free[,Maximum]]` in MB. */
function keepStorage(flags: ParsedFlags): Partial<GcConfig> {
	if (!flags.has('oci-worker-gc-keepstorage')) return {};
	const text = flags.string('oci-worker-gc-keepstorage');
	const [reserved, free, maximum] = text.split(',').map((part) => {
		if (!/^\d+$/.test(part)) throw new UsageError(`invalid --oci-worker-gc-keepstorage ${text}: use "Reserved[,Free[,Maximum]]" in MB`);
		return { bytes: Number(part) * 1e6 };
	});
	return { ...(reserved && { reservedSpace: reserved }), ...(free && { minFreeSpace: free }), ...(maximum && { maxUsedSpace: maximum }) };
}

/** Bytes of the disk a directory is on, or will be. */
function diskOf(directory: string): number {
	let existing = directory;
	while (!existsSync(existing)) existing = path.dirname(existing);
	const { blocks, bsize } = statfsSync(existing);
	return blocks * bsize;
}
