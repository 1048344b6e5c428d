// Where files come from.
import type { ResolveMode } from './attrs.js';
import { attr } from './attrs.js';
import type { Constraints } from './constraints.js';
import { goJson } from './gotext.js';
import { joinPath } from './path.js';
import { formatReference, parseReference, withDefaultTag } from './reference.js';
import { State } from './state.js';
import type { MarshalContext, Marshalled, Output, Vertex } from './vertex.js';
import { seal, sortedMap } from './vertex.js';

class SourceVertex implements Vertex {
	constructor(
		readonly identifier: string,
		readonly attrs: ReadonlyMap<string, string>,
		readonly caps: readonly string[],
		readonly constraints: Constraints,
	) {}

	inputs(): Output[] {
		return [];
	}

	marshal(context: MarshalContext): Marshalled {
		const attrs = new Map(this.attrs);
		const caps = [...this.caps];
		if (this.identifier.startsWith('local://') && !attrs.has(attr.localSessionId)) {
			attrs.set(attr.localUniqueId, context.localUniqueId);
			caps.push('source.local.unique');
		}
		const platformSpecific = /^(docker-image|oci-layout):\/\//.test(this.identifier);
		const platform = platformSpecific ? this.constraints.platform ?? context.platform : undefined;
		return seal({ $case: 'source', source: { identifier: this.identifier, attrs: sortedMap(attrs) } }, [], this.constraints, platform, caps);
	}
}

/** Attributes that have a value, and the capabilities they need. */
class Attrs {
	readonly values = new Map<string, string>();
	readonly caps: string[];

	constructor(cap: string) {
		this.caps = [cap];
	}

	set(name: string, value: string | number | boolean | readonly string[] | undefined, cap?: string): void {
		if (value === undefined || value === '' || value === false || value === 0) return;
		if (typeof value === 'object' && value.length === 0) return;
		this.values.set(name, typeof value === 'object' ? goJson(value) : String(value));
		if (cap !== undefined) this.caps.push(cap);
	}
}

/** Any source, by identifier and attributes. */
export function source(identifier: string, attrs: ReadonlyMap<string, string>, caps: readonly string[], constraints: Constraints = {}): State {
	const { platform } = constraints;
	return State.from({ vertex: new SourceVertex(identifier, attrs, caps, constraints), index: 0, ...(platform ? { platform } : {}) });
}

export interface ImageOptions extends Constraints {
	readonly resolveMode?: ResolveMode;
	/** `internal` keeps an image of the build's machinery out of the user's lists. */
	readonly recordType?: string;
	/** Take only so many layers from the bottom. */
	readonly layerLimit?: number;
	readonly checksum?: string;
}

/** An image of a registry. @throws Error when `ref` is no reference. */
export function image(ref: string, options: ImageOptions = {}): State {
	const attrs = new Attrs('source.image');
	attrs.set(attr.imageResolveMode, options.resolveMode === 'default' ? undefined : options.resolveMode,
		options.resolveMode === 'pull' ? 'source.image.resolvemode' : undefined);
	attrs.set(attr.imageRecordType, options.recordType);
	attrs.set(attr.imageLayerLimit, options.layerLimit, 'source.image.layerlimit');
	attrs.set(attr.imageChecksum, options.checksum, 'source.image.checksum');
	return source(`docker-image://${formatReference(withDefaultTag(parseReference(ref)))}`, attrs.values, attrs.caps, options);
}

export interface LocalOptions extends Constraints {
	readonly sessionId?: string;
	readonly includePatterns?: readonly string[];
	readonly excludePatterns?: readonly string[];
	readonly followPaths?: readonly string[];
	/** Lets similar transfers share what is on disk already. */
	readonly sharedKeyHint?: string;
	readonly differ?: { readonly type: 'none' | 'metadata'; readonly required: boolean };
	/** Transfer only metadata, save for these paths. */
	readonly metadataOnly?: readonly string[];
}

/** A directory of the client. */
export function local(name: string, options: LocalOptions = {}): State {
	const attrs = new Attrs('source.local');
	attrs.set(attr.localSessionId, options.sessionId, 'source.local.sessionid');
	attrs.set(attr.localIncludePatterns, options.includePatterns, 'source.local.includepatterns');
	attrs.set(attr.localFollowPaths, options.followPaths, 'source.local.followpaths');
	attrs.set(attr.localExcludePatterns, options.excludePatterns, 'source.local.excludepatterns');
	attrs.set(attr.localSharedKeyHint, options.sharedKeyHint, 'source.local.sharedkeyhint');
	attrs.set(attr.localDiffer, options.differ?.type, options.differ?.required ? 'source.local.differ' : undefined);
	if (options.metadataOnly) {
		attrs.set(attr.localMetadataTransfer, true, 'source.local.metadatatransfer');
		attrs.set(attr.localMetadataTransferExclude, options.metadataOnly);
	}
	return source(`local://${name}`, attrs.values, attrs.caps, options);
}

export interface HttpOptions extends Constraints {
	readonly checksum?: string;
	readonly filename?: string;
	/** Permission bits. */
	readonly mode?: number;
	readonly uid?: number;
	readonly gid?: number;
	readonly authHeaderSecret?: string;
	readonly headers?: { readonly accept?: string; readonly userAgent?: string };
}

/** A file downloaded from a URL. */
export function http(url: string, options: HttpOptions = {}): State {
	const attrs = new Attrs('source.http');
	attrs.set(attr.httpChecksum, options.checksum, 'source.http.checksum');
	attrs.set(attr.httpFilename, options.filename);
	attrs.set(attr.httpPerm, options.mode ? `0${(options.mode & 0o777).toString(8)}` : undefined, 'source.http.perm');
	// The capability is misspelt in the contract itself.
	attrs.set(attr.httpUid, options.uid, 'soruce.http.uidgid');
	attrs.set(attr.httpGid, options.gid, 'soruce.http.uidgid');
	attrs.set(attr.httpAuthHeaderSecret, options.authHeaderSecret, 'source.http.auth');
	attrs.set(`${attr.httpHeaderPrefix}accept`, options.headers?.accept, 'source.http.header');
	attrs.set(`${attr.httpHeaderPrefix}user-agent`, options.headers?.userAgent, 'source.http.header');
	return source(url, attrs.values, attrs.caps, options);
}

/** A git remote taken apart. */
export interface GitRemote {
	/** As given to git. */
	readonly url: string;
	readonly host: string;
	readonly path: string;
	readonly ssh: boolean;
}

export interface GitOptions extends Constraints {
	readonly ref?: string;
	readonly subdir?: string;
	readonly keepGitDir?: boolean;
	readonly checksum?: string;
	readonly skipSubmodules?: boolean;
	readonly mtime?: string;
	readonly fetchByCommit?: boolean;
	readonly authHeaderSecret?: string;
	readonly authTokenSecret?: string;
	readonly knownSshHosts?: string;
	/** Id of the agent socket for ssh remotes. */
	readonly sshSocket?: string;
}

/** A checkout of a git repository. The identifier is the same for every way to reach the same repository. */
export function git(remote: GitRemote, options: GitOptions = {}): State {
	const attrs = new Attrs('source.git');
	const subdir = joinPath('/', options.subdir ?? '').slice(1);
	const fragment = (options.ref ?? '') + (subdir ? `:${subdir}` : '');
	attrs.set(attr.gitKeepDir, options.keepGitDir, 'source.git.keepgitdir');
	attrs.set(attr.gitFullUrl, remote.url, 'source.git.fullurl');
	attrs.set(attr.gitAuthTokenSecret, options.authTokenSecret ?? 'GIT_AUTH_TOKEN', options.authTokenSecret ? 'source.git.httpauth' : undefined);
	attrs.set(attr.gitAuthHeaderSecret, options.authHeaderSecret ?? 'GIT_AUTH_HEADER', options.authHeaderSecret ? 'source.git.httpauth' : undefined);
	if (remote.ssh) {
		attrs.set(attr.gitKnownSshHosts, options.knownSshHosts, 'source.git.knownsshhosts');
		attrs.set(attr.gitMountSshSock, options.sshSocket ?? 'default', 'source.git.mountsshsock');
	}
	attrs.set(attr.gitChecksum, options.checksum, 'source.git.checksum');
	attrs.set(attr.gitSkipSubmodules, options.skipSubmodules, 'source.git.skipsubmodules');
	attrs.set(attr.gitMtime, options.mtime, 'source.git.mtime');
	attrs.set(attr.gitFetchByCommit, options.fetchByCommit, 'source.git.fetchbycommit');
	const identifier = `git://${remote.host}${joinPath('/', remote.path)}${fragment ? `#${fragment}` : ''}`;
	return source(identifier, attrs.values, attrs.caps, options);
}

export interface OciLayoutOptions extends Constraints {
	readonly sessionId?: string;
	readonly storeId?: string;
	readonly layerLimit?: number;
}

/** An image in an OCI layout of the client, `name@digest`. */
export function ociLayout(ref: string, options: OciLayoutOptions = {}): State {
	const attrs = new Attrs('source.ocilayout');
	attrs.set(attr.ociSessionId, options.sessionId);
	attrs.set(attr.ociStoreId, options.storeId);
	attrs.set(attr.ociLayerLimit, options.layerLimit);
	return source(`oci-layout://${ref}`, attrs.values, attrs.caps, options);
}
