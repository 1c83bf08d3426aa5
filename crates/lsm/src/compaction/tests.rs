mod pick;
