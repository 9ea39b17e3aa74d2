"""What the generated C costs: counted under QEMU, per target, exit and layer class, beside recorded peers."""
