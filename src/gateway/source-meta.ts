// What a source is at present, as frontends and judges of sources ask for it.
import { NotAnImageError } from '../../frontend/index.js';
import { Code, RpcError } from '../grpc/index.js';
import { platformFromPb } from '../llb/index.js';
import type * as wire from './gen/gateway.js';
import type { GatewayHost } from './host.js';

/** Answers ResolveSourceMeta. */
export async function sourceMeta(host: Pick<GatewayHost, 'worker' | 'resolveImageConfig' | 'resolveSourceMeta'>, request: wire.ResolveSourceMetaRequest): Promise<wire.ResolveSourceMetaResponse> {
	const { Source: source, LogName: logName, SourcePolicies: policies } = request;
	if (!source) throw new RpcError(Code.INVALID_ARGUMENT, 'source is required');
	const response: wire.ResolveSourceMetaResponse = { Source: source, Image: undefined, Git: undefined, HTTP: undefined };
	const [, scheme = ''] = /^([a-z-]+):\/\//.exec(source.identifier) ?? [];
	if (scheme === 'docker-image' || scheme === 'oci-layout') {
		const platform = request.Platform ? platformFromPb(request.Platform) : host.worker.platform;
		const meta = await host.resolveImageConfig(source, { platform, resolveMode: request.ResolveMode, logName, policies }).catch((error: unknown) => {
			if (error instanceof NotAnImageError) return error;
			throw error;
		});
		if (meta instanceof NotAnImageError) return { ...response, Source: { ...source, identifier: meta.updated } };
		const Config = request.Image?.NoConfig ? new Uint8Array() : meta.config;
		return { ...response, Source: { ...source, identifier: `${scheme}://${referenceAsAsked(meta, source.identifier)}` }, Image: { Digest: meta.digest, Config, AttestationChain: undefined } };
	}
	const { git, gitCommit, http, httpLastModified } = await host.resolveSourceMeta(source, { logName, objects: request.Git?.ReturnObject ?? false, policies });
	if (git) response.Git = { Checksum: git.checksum, Ref: git.ref, CommitChecksum: git.commitChecksum, CommitObject: gitCommit ?? new Uint8Array(), TagObject: git.tagObject ?? new Uint8Array() };
	if (http) response.HTTP = { Checksum: http.checksum, Filename: http.filename, LastModified: httpLastModified, ChecksumResponse: undefined };
	return response;
}

/** An image's reference as BuildKit answers it: the digest stands beside it, unless it was asked for. */
export function referenceAsAsked({ ref, digest }: { readonly ref: string; readonly digest: string }, asked: string): string {
	return asked.includes('@') || !ref.endsWith(`@${digest}`) ? ref : ref.slice(0, -digest.length - 1);
}
