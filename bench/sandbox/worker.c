/* The least worker there can be: answers on its standard input, a stream socket, until that ends.
 *
 *   E...    the same bytes back
 *   F path  the content of that file, up to one buffer
 *
 * It is the yardstick of a call: nothing is parsed, checked or framed. */
#include <fcntl.h>
#include <unistd.h>

enum { BUFFER_BYTES = 65536 };
static char buffer[BUFFER_BYTES + 1];

static int answer(ssize_t bytes) {
    if (buffer[0] == 'F') {
        buffer[bytes] = 0;
        int file = open(buffer + 1, O_RDONLY | O_CLOEXEC);
        if (file < 0) return -1;
        bytes = read(file, buffer, BUFFER_BYTES);
        close(file);
    }
    return bytes > 0 && write(0, buffer, (size_t)bytes) == bytes ? 0 : -1;
}

int main(void) {
    if (write(0, "R", 1) != 1) return 1;
    for (;;) {
        ssize_t bytes = read(0, buffer, BUFFER_BYTES);
        if (bytes <= 0) return 0;
        if (answer(bytes) != 0) return 1;
    }
}
