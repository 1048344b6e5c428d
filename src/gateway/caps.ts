// What this builder says it can do. Clients refuse by themselves to ask for more.
import type { APICap } from './gen/caps.js';

const frontendApi = [
	'solve.base', 'solve.inlinereturn', 'resolveimage', 'resolveimage.resolvemode', 'readfile', 'return', 'returnmap', 'readdir', 'statfile',
	'importcaches', 'proto.refarray', 'reference.output', 'frontend.inputs', 'gateway.solve.metadata', 'gateway.exec', 'gateway.exec.extrahosts',
	'gateway.exec.secretenv', 'gateway.exec.signals', 'gateway.exec.filesystem', 'frontend.caps', 'gateway.solve.evaluate', 'gateway.evaluate',
	'gateway.warnings', 'reference.attestations', 'source.metaresolver',
];

const llb = [
	'source.image', 'source.image.resolvemode', 'source.image.layerlimit', 'source.image.checksum',
	'source.local', 'source.local.unique', 'source.local.sessionid', 'source.local.includepatterns', 'source.local.followpaths',
	'source.local.excludepatterns', 'source.local.sharedkeyhint', 'source.local.differ', 'source.local.metadatatransfer',
	'source.git', 'source.git.keepgitdir', 'source.git.fullurl', 'source.git.httpauth', 'source.git.knownsshhosts', 'source.git.mountsshsock',
	'source.git.subdir', 'source.git.checksum', 'source.git.skipsubmodules', 'source.git.mtime', 'source.git.fetchbycommit',
	'source.http', 'source.http.auth', 'source.http.checksum', 'source.http.perm', 'soruce.http.uidgid', 'source.http.header',
	'source.ocilayout', 'source.buildop.llbfilename',
	'exec.meta.base', 'exec.meta.cgroup.parent', 'exec.meta.network', 'exec.meta.proxyenv', 'exec.meta.security', 'exec.meta.setsdefaultpath',
	'exec.meta.ulimit', 'exec.meta.removemountstubs.recursive', 'exec.mount.bind', 'exec.mount.bind.readwrite-nooutput', 'exec.mount.cache',
	'exec.mount.cache.sharing', 'exec.mount.selector', 'exec.mount.tmpfs', 'exec.mount.tmpfs.size', 'exec.mount.secret', 'exec.mount.ssh',
	'exec.mount.cache.content', 'exec.cgroup', 'exec.secretenv', 'exec.validexitcode',
	'file.base', 'file.rm.wildcard', 'file.copy.includeexcludepatterns', 'file.copy.requiredpaths', 'file.rm.nofollowsymlink',
	'file.copy.alwaysreplaceexistingdestpaths', 'file.copy.modestring', 'file.symlink.create',
	'constraints', 'platform', 'meta.ignorecache', 'meta.description', 'meta.exportcache', 'mergeop', 'diffop', 'passthroughop',
	'exporter.image.annotations', 'exporter.image.attestations', 'exporter.sourcedateepoch', 'exporter.multiple', 'source.policy', 'gc.freespacefilter', 'history.filter',
];

function enabled(ids: readonly string[]): APICap[] {
	return ids.map((ID) => ({ ID, Enabled: true, Deprecated: false, DisabledReason: '', DisabledReasonMsg: '', DisabledAlternative: '' }));
}

/** Calls of LLBBridge. */
export const frontendApiCaps: readonly APICap[] = enabled(frontendApi);

/** Operations and their attributes, exporters, clean-up filters. */
export const llbCaps: readonly APICap[] = enabled(llb);
