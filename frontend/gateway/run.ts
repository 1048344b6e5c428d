// One request to the frontend image: asked by environment and options, answered with one Return.
import type { Answer } from '../answer.js';
import { answer, sourcesOf } from '../answer.js';
import { RpcError } from '../../src/grpc/index.js';
import type { FrontendResult } from '../build.js';
import { resultMetadata } from '../result.js';
import type { CacheImport, GatewayClient } from './client.js';
import { statusOf } from './status.js';
import * as pb from '../../src/gateway/gen/gateway.js';

/** Answers what `client` asks for. The builder hears of every error; only one on the way to it is thrown. */
export async function runFrontend(client: GatewayClient): Promise<void> {
	let result: pb.Result;
	try {
		result = await resultOf(await answer(client), client);
	} catch (error) {
		await client.return({ error: statusOf(error) });
		return;
	}
	await client.return({ result });
}

async function resultOf(said: Answer, client: GatewayClient): Promise<pb.Result> {
	switch (said.kind) {
		case 'metadata': return pb.Result.create({ metadata: new Map(said.metadata), result: { $case: 'ref', ref: {} } });
		case 'build': return solved(said.result, client);
		case 'forward': {
			try {
				return await client.solveFrontend({ ...client.opts, source: said.source, cmdline: said.cmdline });
			} catch (error) {
				throw hasSources(error) ? error : said.explain(error);
			}
		}
	}
}

async function solved(result: FrontendResult, client: GatewayClient): Promise<pb.Result> {
	const imports = cacheImports(client.opts);
	const refs = await Promise.all(result.platforms.map(async ({ id, definition }): Promise<[string, pb.Ref]> => [id, await client.solveRef(definition, imports)]));
	const metadata = resultMetadata(result);
	if (result.multiPlatform) return pb.Result.create({ metadata, result: { $case: 'refs', refs: { refs: new Map(refs) } } });
	return pb.Result.create({ metadata, result: { $case: 'ref', ref: refs[0]?.[1] ?? {} } });
}

function hasSources(error: unknown): boolean {
	if (sourcesOf(error).length > 0) return true;
	return error instanceof RpcError && error.details.some(({ typeUrl }) => typeUrl.endsWith('/errdefs.Source+json'));
}

/** Where the client wants results taken from: `cache-imports`, and `cache-from` of older ones. */
function cacheImports(opts: Readonly<Record<string, string>>): CacheImport[] {
	const registries = (opts['cache-from'] ?? '').split(',').filter((ref) => ref !== '').map((ref) => ({ type: 'registry', attrs: { ref } }));
	return [...jsonImports(opts['cache-imports'] ?? ''), ...registries];
}

function jsonImports(json: string): CacheImport[] {
	if (json === '') return [];
	const broken = (cause?: unknown): Error => new Error(`failed to unmarshal cache-imports (${JSON.stringify(json)})`, { cause });
	let list: unknown;
	try {
		list = JSON.parse(json);
	} catch (error) {
		throw broken(error);
	}
	if (!Array.isArray(list)) throw broken();
	return (list as { Type?: string; Attrs?: Record<string, string> }[]).map(({ Type = '', Attrs = {} }) => ({ type: Type, attrs: Attrs }));
}
