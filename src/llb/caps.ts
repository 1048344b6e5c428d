// The capabilities a definition may ask for (solver/pb/caps.go of BuildKit): what obd has, and what it knows but
// does not have. A daemon advertises the first; a definition that needs another is refused before it runs.
import type { OpMetadata } from './gen/ops.js';

/** Capabilities of LLB that are there. One of them is misspelt in the contract itself. */
export const capabilities: readonly string[] = [
	'source.image', 'source.image.resolvemode', 'source.image.layerlimit', 'source.image.checksum',
	'source.local', 'source.local.unique', 'source.local.sessionid', 'source.local.includepatterns', 'source.local.followpaths',
	'source.local.excludepatterns', 'source.local.sharedkeyhint', 'source.local.differ', 'source.local.metadatatransfer',
	'source.git', 'source.git.keepgitdir', 'source.git.fullurl', 'source.git.httpauth', 'source.git.knownsshhosts', 'source.git.mountsshsock',
	'source.git.subdir', 'source.git.checksum', 'source.git.skipsubmodules', 'source.git.mtime', 'source.git.fetchbycommit',
	'source.http', 'source.http.auth', 'source.http.checksum', 'source.http.perm', 'soruce.http.uidgid', 'source.http.header',
	'source.ocilayout', 'source.buildop.llbfilename',
	'exec.meta.base', 'exec.meta.cgroup.parent', 'exec.meta.network', 'exec.meta.proxyenv', 'exec.meta.security', 'exec.meta.security.devices.v1',
	'exec.meta.setsdefaultpath', 'exec.meta.ulimit', 'exec.meta.removemountstubs.recursive',
	'exec.mount.bind', 'exec.mount.bind.readwrite-nooutput', 'exec.mount.cache', 'exec.mount.cache.sharing', 'exec.mount.selector',
	'exec.mount.tmpfs', 'exec.mount.tmpfs.size', 'exec.mount.secret', 'exec.mount.ssh', 'exec.mount.cache.content',
	'exec.cgroup', 'exec.secretenv', 'exec.validexitcode',
	'file.base', 'file.rm.wildcard', 'file.copy.includeexcludepatterns', 'file.copy.requiredpaths', 'file.rm.nofollowsymlink',
	'file.copy.alwaysreplaceexistingdestpaths', 'file.copy.modestring', 'file.symlink.create',
	'constraints', 'platform', 'meta.ignorecache', 'meta.description', 'meta.exportcache',
	'mergeop', 'diffop', 'passthroughop',
	'exporter.image.annotations', 'exporter.image.attestations', 'exporter.sourcedateepoch', 'exporter.multiple',
];

/** Capabilities BuildKit has and obd has not. */
const missing: ReadonlySet<string> = new Set([
	'source.git.signatureverify', 'source.git.bundle', 'source.git.checkoutbundle', 'source.http.signatureverify', 'source.imageblob',
	'exec.meta.cdi', 'exec.meta.network.proxy', 'exec.meta.linux.resources',
	'cache.gha', 'cache.s3', 'cache.azblob', 'source.policy', 'source.policy.session', 'exporter.session', 'gc.freespacefilter', 'history.filter',
]);

const present: ReadonlySet<string> = new Set(capabilities);

/** @throws Error for an operation that needs what is not there. */
export function checkCapabilities({ caps }: Pick<OpMetadata, 'caps'>): void {
	for (const name of caps.keys()) {
		if (present.has(name)) continue;
		throw new Error(missing.has(name) ? `requested feature ${name} is not supported by build server` : `unknown API capability ${name}`);
	}
}
