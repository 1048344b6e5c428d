// One client's end of a session: what it serves, and how to call it.
import type { CallOptions, ClientCall, Method, RequestOf, ResponseOf, RpcClient } from '../grpc/index.js';

interface ServiceLike {
	readonly fullName: string;
}

export interface CallerOptions {
	readonly id: string;
	/** Names what the client's directories have in common from build to build; '' when it does not say. */
	readonly sharedKey: string;
	/** `/package.service/method`, in lower case. */
	readonly methods: ReadonlySet<string>;
	readonly client: RpcClient;
}

export class Caller {
	constructor(private readonly options: CallerOptions) {}

	get id(): string {
		return this.options.id;
	}

	get sharedKey(): string {
		return this.options.sharedKey;
	}

	/** Resolves when the client has gone. */
	get closed(): Promise<void> {
		return this.options.client.closed;
	}

	/** Whether the client serves a method. */
	has(service: ServiceLike, method: { readonly name: string }): boolean {
		return this.options.methods.has(`/${service.fullName}/${method.name}`.toLowerCase());
	}

	unary<M extends object>(service: ServiceLike, method: M & Method<RequestOf<M>, ResponseOf<M>>, request: RequestOf<M>, options?: CallOptions): Promise<ResponseOf<M>> {
		return this.options.client.unary<M>(service.fullName, method, request, options);
	}

	call<M extends object>(service: ServiceLike, method: M & Method<RequestOf<M>, ResponseOf<M>>, options?: CallOptions): ClientCall<RequestOf<M>, ResponseOf<M>> {
		return this.options.client.call<M>(service.fullName, method, options);
	}
}
