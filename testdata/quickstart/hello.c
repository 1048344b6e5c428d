#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void) {
  char cwd[256];
  const char *greeter = getenv("GREETER");
  printf("%s (uid %d, in %s, greeted by %s)\n", GREETING, (int)getuid(), getcwd(cwd, sizeof cwd), greeter ? greeter : "nobody");
  return 0;
}
