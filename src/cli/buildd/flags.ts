// The flags of obd-buildd: buildkitd's.
import type { Flag } from '../build/flag-set.js';

export const daemonFlags: readonly Flag[] = [
	{ name: 'addr', kind: 'list', default: 'unix:///run/buildkit/buildkitd.sock', help: 'listening address (socket or tcp)' },
	{ name: 'root', kind: 'string', default: '/var/lib/obd', help: 'path to state directory' },
	{ name: 'compression', kind: 'string', default: 'overlaybd', help: 'compression of image layers where a client asks for none: overlaybd, gzip, zstd or uncompressed' },
	{ name: 'allow-insecure-entitlement', kind: 'list', help: 'allows insecure entitlements e.g. network.host, security.insecure' },
];
