/** A URL with user and password masked, for messages; what is no URL stays. */
export function redactCredentials(text: string): string {
	if (!URL.canParse(text)) return text;
	const url = new URL(text);
	if (url.username === '' && url.password === '') return text;
	if (url.username !== '') url.username = 'xxxxx';
	if (url.password !== '') url.password = 'xxxxx';
	return url.href;
}
